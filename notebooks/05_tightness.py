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
# # The default bound is within a tenth of the width that no valid bound can be expected to beat
#
# How wide each inequality is on measured losses, from 20 to 2,500 sequences, in units of a yardstick made of the two widths that stop every
# valid bound; and what that is worth in sequences, next to the papers' form of the certificate made valid. Needs the measured losses, about
# five minutes the first time on the shipped subject; about half a minute after that.

# %% tags=["parameters"]
subject = "docstring-6l"  # shipped subject, one of the paper such as "gpt2-small", or a model folder with its SAEs under saes/
sae = ""  # where its SAEs are, if elsewhere: a folder, a template with {layer}, or "release/id" of sae_lens
corpus = "docstrings"  # "docstrings", a file (.txt, .jsonl, .parquet), or a dataset of the hub ("hf:org/name")
hook_name = ""  # hook point of the SAE; "" takes the middle one
n_seq = 0  # certification sequences; 0 takes all
delta = 0.05  # probability that a statement is wrong
alpha = 0.5  # weight of the uniform distribution in every predictor
tolerance = 0.1  # pool rule: largest mean mismatch on discovery, bits per token
sizes = [20, 50, 100, 200, 500, 1000, 2500]  # sequences in a resample
resamples = 50  # drawn with replacement from the measured sequences, for every size
goal = 1.1  # largest tightness of the default, from 50 sequences on
orders = 20  # orders of the sequences in which the ladder is climbed
seed = 0  # of resamples and orders
device = "cpu"  # where the model runs
allow_bad_sae = False  # True measures SAEs that fail the check at the start, and says so
strict = True  # fail when a claim of this page does not hold; False reports it

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from scipy.stats import binom

from saecert import certify, collect, load_corpus, load_subject
from saecert.certificates.certificate import joint_loss
from saecert.reporting import figures
from saecert.statistics.inequalities import (
    INEQUALITIES,
    clopper_pearson_upper,
    dirichlet_upper,
    tightness,
)

# %% [markdown]
# ## How narrow a valid bound can be
#
# ````{prf:theorem} A point mass could hide
# :label: point-mass-could-hide
#
# Let $U$ be an upper bound on the mean of $n$ i.i.d. values that is wrong with probability at most $\delta < \frac12$, whatever their distribution
# on $[\mathrm{lo}, \mathrm{hi}]$. Then for every distribution with mean $\mu$, with probability at least $\frac12$,
#
# $$U - \mu\ \ge\ \bigl(1 - (2\delta)^{1/n}\bigr)(\mathrm{hi} - \mu) .$$
# ````
#
# ````{prf:proof}
# Let $p = 1 - (2\delta)^{1/n}$, and mix the distribution with a point mass $p$ at $\mathrm{hi}$: the mean becomes $\mu' = \mu + p(\mathrm{hi} - \mu)$. A sample
# of $n$ contains none of that mass with probability $(1-p)^n = 2\delta$, and then it is a sample of the old distribution. If $U < \mu'$ had
# probability above $\frac12$ under the old one, it would have probability above $2\delta \cdot \frac12 = \delta$ under the new one, whose mean is $\mu'$:
# $U$ would not be valid.
# ````
#
# That is the floor for steady losses. For spread-out ones the floor is the width of the normal approximation, asymptotically. The yardstick
# joins them, with $r$ for the first at $\delta$ in place of $2\delta$ and $g$ for the second:
#
# $$\text{tightness} = \frac{U - \bar x}{\sqrt{g^2 + r^2}}, \qquad g = \frac{z_{1-\delta}\, s}{\sqrt n}, \qquad
# r = \bigl(1 - \delta^{1/n}\bigr)(\mathrm{hi} - \bar x).$$
#
# It is a scale, not a theorem about finite samples: 1 is as tight as can be hoped for, and single samples scatter around it. Where the answer
# is known without sampling, on coins with heads 30 % of the time, the mean tightness of the Dirichlet bound is a sum over the number of heads,
# and the bound is Clopper and Pearson's:

# %%
nats, coins = -np.log(delta), {}
for n in sizes:
    weights = binom.pmf(np.arange(n + 1), n, 0.3)
    heads = np.flatnonzero(weights > 1e-9)
    flips = (np.arange(n) < heads[:, None]).astype(float)
    limits = dirichlet_upper(flips, 0.0, 1.0, nats)
    assert np.allclose(limits, clopper_pearson_upper(heads, n, nats), rtol=1e-9)
    coins[n] = weights[heads] @ tightness(limits, flips, 1.0, nats)
print("Bernoulli(0.3):", ", ".join(f"{ratio:.3f} at n = {n}" for n, ratio in coins.items()))

# %% [markdown]
# ## Five inequalities on measured losses
#
# Resamples are drawn with replacement from the measured sequences, the same ones for every inequality and quantity: the joint loss $v_A$ of the
# pool that the discovery split chose, and each of its three terms on its own support.

# %%
lm = load_subject(subject, sae=sae or None, hooks=[hook_name] if hook_name else None, device=device)
everything, discovery = (
    load_corpus(corpus, lm, split=s, n_seq=n or None)
    for s, n in (("certification", n_seq), ("discovery", 0))
)
losses = collect(
    lm,
    everything,
    hook_name or None,
    discovery=discovery,
    controls=False,
    allow_bad_sae=allow_bad_sae,
    progress=False,
)
chosen = certify(losses, delta=delta, alpha=alpha, tolerance=tolerance, eps=())
(lo, hi), width = (chosen.lo, chosen.hi), chosen.hi - chosen.lo
clean, full, pooled = (losses.at(name, alpha) for name in ("clean", "full", f"pool_{chosen.k}"))
quantities = {
    "v_A": (joint_loss(clean, full, pooled, hi), lo, hi),
    "proxy risk": (pooled, lo, hi),
    "reconstruction gap": (np.abs(clean - full), 0.0, width),
    "pool mismatch": (np.abs(full - pooled), 0.0, width),
}
rng, rows = np.random.default_rng(seed), []
for n in sizes:
    drawn = rng.integers(len(losses), size=(resamples, n))
    for quantity, (x, low, high) in quantities.items():
        for name, upper in INEQUALITIES.items():
            ratios = tightness(upper(x[drawn], low, high, nats), x[drawn], high, nats)
            error = ratios.std(ddof=1) / np.sqrt(resamples)
            rows.append(
                {
                    "quantity": quantity,
                    "inequality": name,
                    "n": n,
                    "tightness": ratios.mean(),
                    "error": error,
                }
            )
frame = pd.DataFrame(rows)
frame.pivot_table("tightness", ["quantity", "inequality"], "n", sort=False).map("{:.3g}".format)

# %% [markdown]
# The default does not depend on the order of the sequences; the betting bound does, and one order differs from the next. Up to 500 of
# the measured $v_A$ in different orders:

# %%
sample = quantities["v_A"][0][:500]
shuffled = rng.permuted(np.tile(sample, (resamples, 1)), axis=1)
spread = {
    name: np.ptp(INEQUALITIES[name](shuffled, lo, hi, nats)) for name in ("dirichlet", "betting")
}
print(
    f"{resamples} orders: bounds differ by",
    ", ".join(f"{bits:.4f} bits ({name})" for name, bits in spread.items()),
)

# %% [markdown]
# ## What it is worth in sequences
#
# The ladder of T2, all nested pools at once: how many sequences until the *paired* difference $v_A - \ell_{\mathrm{ref}}$ is certifiably negative. Beside it
# the papers' form made valid: T3 with the uniform prior over subsets and Hoeffding's inequality, on the same sequences.

# %%
goals, settings = (
    {"uniform": 60, "unigram": 80, "bigram": 300},
    {"delta": delta, "alpha": alpha, "eps": ()},
)
ways = {"T2, Dirichlet": {"method": "nested"}}
ways |= {
    "T3 as in the papers, made valid": {
        "method": "in_sample",
        "prior": "uniform",
        "inequality": "hoeffding",
    }
}
grid = [n for n in (5, 10, 20, 40, 60, 80, 120, 200, 300, 500, 1000, 2000) if n < len(losses)] + [
    len(losses)
]
certificates = [certify(losses, n_seq=n, **settings, **way) for way in ways.values() for n in grid]
curve = pd.DataFrame(
    {
        "label": np.repeat([*ways], len(grid)),
        "n_seq": grid * len(ways),
        "bound": [c.bound for c in certificates],
    }
)
curve = curve.assign(
    valid=True, beaten=[sum(row["claimed"] for row in c.ladder) for c in certificates]
)
first = {
    f"beats {rung} from": curve[curve["beaten"] > place].groupby("label")["n_seq"].min()
    for place, rung in enumerate(goals)
}
first = pd.DataFrame(first).reindex(list(ways))
share = {}
for place, (rung, n) in enumerate(goals.items()):
    records = [losses.take(rng.permutation(len(losses))[:n]) for _ in range(orders)]
    share[rung] = np.mean(
        [
            certify(record, **settings, method="nested").ladder[place]["claimed"]
            for record in records
        ]
    )
print(
    f"share of {orders} orders in which T2 beats",
    ", ".join(f"{rung} by n = {goals[rung]}: {share[rung]:.0%}" for rung in goals),
)
nested, published = (curve[curve["label"] == label] for label in ways)
reached = published["bound"].iloc[-1]
factor = len(losses) / nested.loc[nested["bound"] <= reached, "n_seq"].min()
print(
    f"{len(losses)} sequences certify {reached:.2f} bits in the papers' form; T2 needs {factor:.0f} times fewer"
)
first.astype("Int64").astype(object).fillna("never")

# %% mystnb={"figure": {"caption": "Tightness, the width of a bound over the yardstick (1 is as tight as can be hoped for), mean over resamples of the measured losses. Left: five inequalities on the joint loss, on a logarithmic axis. Middle: the default bound on the joint loss and on each term, and on coins, where it is exact; dashed: the goal. Right: bounds on the same sequences, all nested pools at once (T2) and the papers' form made valid; dashed: the uniform predictor.", "name": "fig-tightness"}, "image": {"alt": "Three line plots against the number of sequences. Left: the Dirichlet and betting bounds run close to 1, the other three far above. Middle: the lines of the default bound run near 1. Right: the bound of the nested pools falls far earlier than that of the papers' form."}} tags=["hide-input"]
figures.use_style()
fig, axes = plt.subplots(1, 3, figsize=(15.5, 5), layout="constrained")
exact = pd.DataFrame({"quantity": "coins, exact", "n": coins.keys(), "tightness": coins.values()})
default = frame[frame["inequality"] == "dirichlet"]
panels = {"inequality": frame[frame["quantity"] == "v_A"], "quantity": pd.concat([default, exact])}
for ax, (hue, part), title in zip(
    axes, panels.items(), ("joint loss", "Dirichlet bound, each quantity"), strict=False
):
    sns.lineplot(part, x="n", y="tightness", hue=hue, style=hue, markers=True, dashes=False, ax=ax)
    ax.axhline(goal, color="black", linestyle="--", linewidth=1)
    ax.set(title=title, xscale="log", xlabel="sequences", xticks=sizes, xticklabels=sizes)
axes[0].set(yscale="log", yticks=[1, 2, 5, 10, 20], yticklabels=[1, 2, 5, 10, 20])
figures.plot_convergence(curve, axes[2], np.log2(losses.n_vocab)).set(
    title="bound on the same sequences", ylim=(0, None)
)
for ax in axes:
    ax.minorticks_off()
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, fontsize=9.5)
plt.show()

# %%
worst = default[default["n"] >= 50].nlargest(1, "tightness").iloc[0]
print(
    f"loosest from n = 50: {worst['tightness']:.3f}, standard error {worst['error']:.3f} ({worst['quantity']}, n = {worst['n']})"
)
on_coins = max((ratio for n, ratio in coins.items() if n >= 500), default=np.nan)
on_time = (first.iloc[0] <= list(goals.values())).all() and min(share.values()) >= 0.5
holds = bool(
    worst["tightness"] <= goal
    and on_coins <= 1.05
    and spread["dirichlet"] < 1e-9
    and on_time
    and factor >= 10
)
print("claim holds:", holds)
assert holds or not strict

# %% [markdown]
# ## What this shows
#
# On measured losses the default bound is about as narrow as its yardstick, for the joint loss and for each term, and does not depend on the
# order of the sequences. The betting bound comes close, and is a little narrower on the joint loss of many sequences. Hoeffding's bound ignores that losses vary little, and the empirical Bernstein bound pays for estimating how
# little: both are several times wider. In sequences, together with a pool that was not read off the sample, that is the difference between a
# handful and hundreds. This does *not* show that no valid bound is narrower on these losses: the yardstick is a scale, and the floor in
# {prf:ref}`point-mass-could-hide` is a floor for the median, below the yardstick. And a tight bound on a large loss is still large.
