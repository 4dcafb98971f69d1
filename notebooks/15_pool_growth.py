# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 15 · A few dozen sequences show almost all of what the next one activates; the last two layers of the shipped subject need the most
#
# **Question.** After how many sequences has one seen the latents that matter? And can a sample tell how much it has *not*
# seen?
#
# Everything here speaks of sequences, not tokens: how many latents a pool of them holds, how many of its latents the next
# one adds to it, and how many sequences are enough, at every hook point of the subject. What it measures is kept under
# `measurements/`.

# %% mystnb={"code_prompt_show": "Parameters of this page", "code_prompt_hide": "Hide the parameters"} tags=["parameters", "hide-input"]
# the shipped one, one of the paper's, or a model folder
subject = "docstring-6l"
# its SAEs, if not in the model folder
sae = ""
# another subject to stand beside it; empty: none
second_subject = ""
# text: a name, a file or a hub data set
corpus = "docstrings"
# certification sequences, on which pools are judged; 0: all
n_seq = 1000
# discovery sequences from which pools are drawn; 0: all
n_calibration = 500
# probability that a statement is wrong
delta = 0.05
# sequences in the one pool that is looked at closely
n_pool = 50
# sequences that the claim says suffice for 99 % of the active mass
enough = 50
# of simulations
seed = 0
# where the model runs
device = "cpu"
# measure an SAE that fails its check
allow_bad_sae = False
# stop when a claim fails
strict = True

# %% tags=["hide-input"]
import numpy as np
import pandas as pd

from saecert.dictionaries.growth import (
    absent,
    growth_curve,
    judged_pool,
    missing,
    pool_growth,
    sequences_needed,
)
from saecert.reporting import figures, layers
from saecert.reporting.claims import claims, decided
from saecert.reporting.study import open_study
from saecert.reporting.tables import show
from saecert.statistics.inequalities import dirichlet_upper, lower
from saecert.statistics.rounding import upper_text

# %% [markdown]
# ## What a sample of sequences says about the next one
#
# A latent is *active* in a sequence if it fires at any position of it. How *often* it is active, the share of all sequences
# of the population in which it fires, is called its **mass**; a latent that is active in every second sequence has mass one
# half. The **active mass** is the sum of all masses, which is the mean number of latents active in a sequence, counted
# latent by latent. The pool of some sequences holds whatever any of them activates.
#
# Let $F_1, \dots, F_M$ be the sets of latents active in $M$ i.i.d. sequences, $F$ that of one more, $n_j$ the number of them
# in which latent $j$ is active, $Q_1$ the number of latents with $n_j = 1$, and $p_j = \Pr(j \in F)$ the mass of latent
# $j$. The pool $A^{(n)}$ is that of $n$ of the sequences.
#
# ````{prf:theorem} Pool growth and missing mass
# :label: pool-growth
#
# Let $a(n)$ be the mean of $\lvert A^{(n)}\rvert$ over all $\binom{M}{n}$ choices of the sequences. Then
#
# $$\begin{aligned}
# a(n) &= \sum_j \Bigl[1 - \tbinom{M-n_j}{n} \big/ \tbinom{M}{n}\Bigr], \\
# \mathbb{E}\,a(n) &= \sum_j \bigl[1 - (1-p_j)^n\bigr] \quad (n \le M),
# \end{aligned}$$
#
# and its slope has the expected number of latents that a further sequence adds to the pool as its expectation:
#
# $$\mathbb{E}\bigl[a(n+1) - a(n)\bigr] = \sum_j p_j (1-p_j)^n = \mathbb{E}\,\lvert F \setminus A^{(n)}\rvert \quad (n < M).$$
#
# The first slope is the mean number of active latents; the last is $Q_1 / M$, Good and Turing's estimate.
# ````
#
# ````{prf:proof}
# A choice of $n$ misses latent $j$ if it falls among the $M - n_j$ sequences without it, and any $n$ i.i.d. sequences miss
# it with probability $(1-p_j)^n$. For the slope take differences; a further sequence is independent of $A^{(n)}$ and
# activates $j$ with probability $p_j$. Between $M-1$ and $M$ latent $j$ adds to the slope only if $n_j = 1$, and then
# $1/M$.
# ````
#
# The **missing mass** of $A^{(n)}$ is the share $\mathbb{E}\,\lvert F \setminus A^{(n)}\rvert / \mathbb{E}\,\lvert F
# \rvert$, estimated by the slope at $n$ over the first slope. This is rarefaction by sampling units {cite}`colwell2004`,
# its slope {cite:t}`good1953`'s estimate in incidence form. $Q_1/M$ speaks of a pool one sequence smaller than the one it
# is computed from: for $A^{(M)}$ it is too large, on average, by $\sum_j p_j^2 (1-p_j)^{M-1}$. In code the sets are rows of
# a boolean array `active`; `pool_growth(active, n)` is $a(n)$, and `missing(active, n, rows)` what each of `rows` adds.
#
# Checked on a population of simulated sequences, in which latents come in topics and are far from independent. Samples are
# drawn from it with replacement, so that every $p_j$ is known exactly.

# %%
rng = np.random.default_rng(seed)
topics = rng.beta(0.2, 1.5, size=(4, 150))
population = rng.random((3000, 150)) < topics[rng.integers(0, 4, 3000)]
p = population.mean(axis=0)
samples = [population[rng.integers(0, 3000, 20)] for _ in range(1000)]

# %% tags=["hide-input"]
estimates = {
    "size of the pool, n = 5": [pool_growth(x, 5) for x in samples],
    "slope at n = 5": [
        missing(x, 5, x, left_out=True).mean() for x in samples
    ],
    "Q1 / M, M = 20": [
        (x.sum(axis=0) == 1).sum() / 20 for x in samples
    ],
}

# %% [markdown]
# Of each of 1,000 samples of 20 sequences three estimates; their means beside the truth, with the standard error of such a mean:

# %% tags=["hide-input"]
check = pd.DataFrame(estimates).agg(["mean", "sem"]).T
check["truth"] = [
    (1 - (1 - p) ** 5).sum(),
    p @ (1 - p) ** 5,
    p @ (1 - p) ** 19,
]
check["errors off"] = (check["mean"] - check["truth"]) / check["sem"]
late = (check["mean"].iloc[-1] - p @ (1 - p) ** 20) / check["sem"].iloc[
    -1
]
print(f"Q1 / M for a pool of all 20: {late:.1f} standard errors off")
named = {"sem": "standard error", "errors off": "off, in such errors"}
show(
    check.rename(columns=named),
    "Means of 1,000 samples beside the truth: latents",
    decimals=3,
)

# %% [markdown]
# All three are unbiased to within the error of the simulation; taken for the pool of all 20 sequences $Q_1/M$ is too large,
# as said.
#
# ## How many sequences: limits from fresh text
#
# Some latents may be missed: a share $\gamma$ of the active mass, say 1 %. Count for a fresh sequence how much more than
# this share of it the pools of $n$ sequences miss; $n$ is enough once the limit on the mean of that is below 0.
#
# ````{prf:theorem} Sequences needed
# :label: how-many-sequences
#
# Fix the calibration sequences, let $\mathrm{miss}_j(n) = \binom{M-n_j}{n} / \binom{M}{n}$ be the share of all choices of
# $n$ that miss latent $j$, and $n_\gamma$ the smallest $n$ for which the missing mass, on average over the choices, is at
# most $\gamma$. For a fresh sequence put $y(n) = \sum_{j \in F} (\mathrm{miss}_j(n) - \gamma)$, which lies in $[-\sum_j
# (\gamma - \mathrm{miss}_j(n))_+, \sum_j (\mathrm{miss}_j(n) - \gamma)_+]$. Let $\overline{y}_n$ and $\underline{y}_n$ be
# an upper and a lower limit on $\mathbb{E}\,y(n)$ with this support, each wrong with probability at most $\delta/2$ and
# never falling as a value or an end of the support rises. Then with probability at least $1-\delta$
#
# $$\min\{n : \underline{y}_n \le 0\} \ \le\ n_\gamma\ \le\ \min\{n : \overline{y}_n \le 0\}.$$
# ````
#
# ````{prf:proof}
# The missing mass is $\sum_j p_j \mathrm{miss}_j(n) / \sum_j p_j$, at most $\gamma$ if and only if $\mathbb{E}\,y(n) \le
# 0$. More sequences never miss more, so $\mathrm{miss}_j(n)$, and with it $y(n)$, its support, $\overline{y}_n$ and
# $\underline{y}_n$, falls with $n$. If the right side is below $n_\gamma$, then $\overline{y}_n \le 0$ at $n = n_\gamma -
# 1$, where $\mathbb{E}\,y(n) > 0$: the upper limit is wrong at this one $n$, which does not depend on the fresh sequences.
# If the left side is above $n_\gamma$, then the lower limit is wrong at $n_\gamma$.
# ````
#
# So searching through all $n$ costs nothing. In code: `sequences_needed(active, fresh, mass, nats)`, where `mass` is
# $1-\gamma$, with the Dirichlet bound. The limits cover the draw of the fresh sequences; they speak of pools drawn from
# *these* calibration sequences, on average over the choice. Simulated in the hardest case, in which eight sequences lack
# exactly the share allowed, in 300 draws of 600 fresh ones:

# %%
share = missing(samples[0], 8, population).mean() / p.sum()
excess = absent(samples[0], 8) - share  # E y(8) = 0
drawn = (population @ excess)[rng.integers(0, 3000, size=(300, 600))]
support = excess[excess < 0].sum(), excess[excess > 0].sum()
alone = np.log(2 / delta)
upper_wrong = dirichlet_upper(drawn, *support, alone) <= 0
lower_wrong = lower("dirichlet", drawn, *support, alone) > 0
naive_wrong = drawn.mean(axis=1) <= 0

# %% tags=["hide-input"]
wrong = {
    "upper limit": upper_wrong,
    "lower limit": lower_wrong,
    "mean taken for a limit": naive_wrong,
}
for name, flags in wrong.items():
    print(f"{name} wrong: {100 * np.mean(flags):.1f} %")

# %% [markdown]
# Each limit may be wrong in $\delta/2$ of all draws (2.5 % by default), and is wrong less often; the sample mean taken for
# a limit is wrong in about every second one.
#
# ## What the model's own text shows
#
# Calibration sequences come from the discovery split, fresh ones from the certification split.

# %% tags=["hide-input"]
how = n_seq, n_calibration, device, allow_bad_sae
studies = [
    open_study(name, place, corpus, "all", *how)
    for name, place in ((subject, sae), (second_subject, ""))
    if name
]

# %% [markdown]
# What is measured is how often each latent fires in each sequence, at every hook point.

# %% tags=["hide-input"]
counts, asked = {}, {"discovery": n_calibration, "certification": n_seq}
for study in studies:
    parts = [
        study.measure(
            "activity", split=split, hook_names=study.hook_names
        )
        for split in asked
    ]
    name = study.settings["subject"].rstrip("/").rsplit("/", 1)[-1]
    for hook in study.hook_names:
        (label,) = layers.labels_of([hook])
        counts[name, f"layer {label}"] = [
            part[hook]["counts"] for part in parts
        ]

# %% [markdown]
# So many sequences there are; if fewer than were asked for, that is said below.

# %% tags=["hide-input"]
n_least = min(len(calibration) for calibration, _ in counts.values())
n_fresh = min(len(fresh) for _, fresh in counts.values())
if n_least < 3:
    own = studies[0].beside(split="discovery", n_seq=n_calibration)
    own.needs(3, "n_calibration")
n_own = min(n_pool, n_least)
for (name, layer), (calibration, fresh) in counts.items():
    sizes = f"{len(calibration)} calibration, {len(fresh)} fresh"
    print(f"{name}, {layer}: {sizes} sequences")
for parameter, value, used in (
    ("n_calibration", n_calibration, n_least),
    ("n_seq", n_seq, n_fresh),
    ("n_pool", n_pool, n_own),
):
    if value > used:
        print(f"{parameter}: {value} were asked for, {used} are used")

# %% [markdown]
# One pool, that of the first `n_pool` calibration sequences, judged from both sides: by those sequences alone, and by fresh
# ones, with limits that hold jointly for this pool at all hook points. First how large it is, and what it says itself:
# latents active in a sequence, the pool's share of the dictionary, and $Q_1/n$, its estimate of how many latents the next
# sequence adds.

# %%
nats = np.log(5 * len(counts) / delta)
judged = pd.DataFrame(
    {
        key: judged_pool(calibration[:n_own], fresh, nats)
        for key, (calibration, fresh) in counts.items()
    }
).T.rename_axis(["subject", ""])
judged = judged if second_subject else judged.droplevel("subject")

# %% tags=["hide-input"]
titles = {
    "active": "active in a sequence, mean",
    "pool (%)": "pool, % of the dictionary",
    "Q1 / n": "new in the next sequence, estimate",
}
note = (
    f"pool of {n_own} calibration, {n_fresh:,} fresh sequences; "
    f"all limits of this pool jointly at delta = {delta:g}"
)
show(
    judged[list(titles)].rename(columns=titles),
    "The pool by itself: latents",
    note=f"pool of {n_own} calibration sequences",
)

# %% [markdown]
# A sequence activates a large part of such a dictionary, so a pool soon holds nearly all of it; by its own estimate a further
# sequence adds a latent or two at most on the shipped subject. Now with fresh sequences: the expected number of latents
# that a sequence *adds*, by the Dirichlet bound on $[0, m - \lvert A\rvert]$.

# %% tags=["hide-input"]
caption = "Latents that a fresh sequence adds"
show(judged.filter(like="added"), caption, note=note)

# %% [markdown]
# These are of the same order as $Q_1/n$ of the table before, which is a count of few latents and speaks of a pool one
# sequence smaller. The probability that a sequence adds *any* latent, with {cite:t}`clopper1934`'s limits, falls much
# later:

# %% tags=["hide-input"]
caption = "Fresh sequences that add any latent"
show(judged.filter(like="any"), caption, note=note)

# %% [markdown]
# Even where a sequence adds less than one latent on average, between 23 and 44 % of them add some. And the share of a
# sequence's *firings* (a latent active at a position) outside the pool, by the Dirichlet bound on $[0, 1]$:

# %% tags=["hide-input"]
outside = judged.filter(like="firings")
show(
    outside.set_axis(["in the sample", "at most"], axis=1),
    "Firings outside the pool, % of those of a sequence",
    note=note,
    significant=2,
)

# %% [markdown]
# What is new is rarely active: of a sequence's firings less than one in a thousand. The limit is almost all allowance for the unseen: a limit on a mean in $[0, 1]$ cannot fall
# below the reach of an event too rare for this many sequences to show.
#
# ## Sequences needed
#
# The number of calibration sequences whose pool has 90, 95 and 99 % of the active mass: as they estimate it by themselves,
# and its limits from fresh sequences, which hold jointly over hook points and masses.

# %%
masses = (0.90, 0.95, 0.99)
nats = np.log(2 * len(counts) * len(masses) / delta)
rows = []
for (name, layer), (calibration, fresh) in counts.items():
    key = {"subject": name, "layer": layer}
    for mass in masses:
        found = sequences_needed(calibration > 0, fresh > 0, mass, nats)
        rows.append(
            {**key, "mass": mass, **found, "n": len(calibration)}
        )
needed = pd.DataFrame(rows)

# %% [markdown]
# For each share of the mass, the estimate of the calibration sequences, and lower "to" upper limit from fresh ones:

# %% tags=["hide-input"]
said = needed[["subject", "layer", "mass"]].copy()
for column, left_out in (("estimate", 1), ("low", 0), ("high", 0)):
    said[column] = [
        str(value) if value <= n - left_out else f"> {n - left_out}"
        for value, n in zip(needed[column], needed["n"], strict=True)
    ]
said["limits"] = said["low"] + " to " + said["high"]
said["mass"] = [f"{mass:.0%}" for mass in said["mass"]]
in_order = pd.unique(said["layer"])
said["layer"] = pd.Categorical(said["layer"], in_order)
rows = ["subject", "layer"] if second_subject else ["layer"]
table = said.pivot(
    index=rows, columns="mass", values=["estimate", "limits"]
).rename_axis(index={"layer": ""})
show(
    table.swaplevel(axis=1).sort_index(axis=1),
    "Calibration sequences that identify a share of the active mass",
    note=f"n = {n_least} calibration and {n_fresh:,} fresh sequences; "
    f"all limits jointly at delta = {delta:g}",
)

# %% [markdown]
# A ">" would stand where all calibration sequences together were not enough. What the calibration sequences say about
# themselves is to be compared with the limits beside it. For the figure, the same along the whole curve:

# %% tags=["hide-input"]
curves = []
for (name, layer), (calibration, fresh) in counts.items():
    sizes = np.geomspace(1, len(calibration) - 1, 16).astype(int)
    label = f"{name} {layer}" if second_subject else layer
    rows = growth_curve(
        calibration > 0, fresh > 0, np.unique(sizes), alone
    )
    curves += [{"label": label, **row} for row in rows]
curve = pd.DataFrame(curves)

# %% [markdown]
# The curves, with the numbers of the table on them:

# %% mystnb={"figure": {"caption": "Top left: mean size of the pool from n calibration sequences, by hook point. Top right: latents that a further sequence adds to it, as the calibration sequences alone estimate (lines) and as fresh sequences show (dots, with limits that hold each on its own at delta). Bottom: calibration sequences that identify 90, 95 and 99 % of the active mass: fresh sequences with limits that hold jointly at delta, and the estimate from calibration alone (rings).", "name": "fig-pool-growth"}, "image": {"alt": "Three panels. The pools of the last two layers grow more slowly and lack more latents after ten sequences and beyond; measured dots lie on the estimated lines. Below, the numbers of sequences are largest at the last two layers, above all for 99 percent."}} tags=["hide-input"]
label = needed["subject"] + " " + needed["layer"]
label = label if second_subject else needed["layer"]
fig = figures.plot_growth(curve, needed.assign(label=label))

# %% [markdown]
# The dots lie on the lines: a sample knows how much it has not seen. Below, the rings lie within the limits, and the last two layers stand
# apart, the more so the larger the share of the mass. The last claim counts the rings, in all cells of the table.


# %% tags=["hide-input"]
def at_most(number):
    """An upper limit in words; more than there are: none."""
    most = upper_text(number, 0) if number < np.inf else ""
    return f"at most {most}" if most else "no limit"


first = needed[needed["subject"] == needed["subject"].iloc[0]]
most = first[first["mass"] == 0.99]
low = most["low"]
high = most["high"].where(most["high"] <= most["n"], np.inf)
print(f"sequences for 99 %: {at_most(high.max())}")
soon = decided(high.max() <= enough, low.max() > enough)

# %% [markdown]
# Do the last two layers need more than all others? They do where their lower limits are above the upper limits of the others.

# %% tags=["hide-input"]
ordered = "needs three hook points"
if len(most) > 2:
    last, others = low[-2:].min(), high[:-2].max()
    before = low[:-2].max() >= high[-2:].min()
    ordered = decided(last > others, before)
    print(f"last two: at least {last}")
    print(f"all others: {at_most(others)}")

# %% tags=["hide-input"]
inside = needed["estimate"].between(needed["low"], needed["high"])
print(f"estimates within the limits: {inside.sum()} of {len(inside)}")
beyond = needed[["low", "estimate"]].min(axis=1) >= needed["n"]
why = "both may need more sequences than there are"
within = decided(inside.all(), not (inside | beyond).all(), why)
claims(
    strict,
    {
        f"99 % within {enough} sequences": soon,
        "the last two layers need the most": ordered,
        "estimates lie within the limits": within,
    },
)

# %% [markdown]
# ## What this shows, and what it does not
#
# What a sample says about its own missing mass lies within the limits from fresh sequences, at every hook point and for
# every share of the mass. On the shipped subject a few dozen sequences identify nearly all of the active mass, and the last
# two layers need the most; the probability that a sequence adds *any* latent falls much later. This does *not* show that
# depth is the reason, since the SAEs of these two layers were trained on more tokens, nor that so few suffice elsewhere,
# since a sequence here activates a large part of a small dictionary. That a larger model needs fewer sequences
# {cite}`ssd2026` is not tested by one subject: give a second one, and see whether their limits overlap.
#
# ## Exercise
#
# Make the pool from four times as many sequences. Which falls fastest: the latents *added*, the share of sequences that
# add *any*, or the limit on *firings*? Predict first, then run `python -m saecert run 15_pool_growth -p n_pool=200` and
# compare the three tables.
#
# ```{admonition} Answer
# :class: dropdown
# The latents added fall fastest, at layer 5 from at most 2.12 to at most 0.05 a sequence; the share
# of sequences that add any falls from at most 80.41 to at most 4.19 %. Fewer sequences add
# something, and those that do add fewer: some two or three with a pool of 50, hardly more than one
# with 200. The limit on firings only falls from 0.73 to 0.64 %, although the share itself falls
# from 0.093 to 0.00082 %: 0.64 % is what 1,000 fresh sequences leave open when none of them shows
# anything, $1 - (\delta/30)^{1/1000}$ for five limits at each of six layers.
# ```
