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
# # 16 · A small bound is no proof of meaning, and a vacuous one no proof against a proxy
#
# **Question.** If the bound is small, do the latents mean something? If it is vacuous, is the proxy bad?
#
# Counterexamples built on purpose: latents mixed beyond recognition, an encoder of random directions with nothing but its
# atoms fitted, and the model itself, the most faithful proxy there is, on samples too small for what is asked of them. What
# it measures is kept under `measurements/`.

# %% mystnb={"code_prompt_show": "Parameters of this page", "code_prompt_hide": "Hide the parameters"} tags=["parameters", "hide-input"]
# the shipped one, one of the paper's, or a model folder
subject = "docstring-6l"
# its SAEs, if not in the model folder
sae = ""
# text: a name, a file or a hub data set
corpus = "docstrings"
# hook point of the SAE; empty: the middle one
hook_name = ""
# certification sequences; 0: all
n_seq = 500
# discovery sequences; 0: all
n_discovery = 500
# probability that a statement is wrong
delta = 0.05
# weight of the uniform distribution
alpha = 0.5
# concentration inequality
inequality = "dirichlet"
# pool size, share of the dictionary
pool_share = 0.75
# sequences on which aliases are looked at
n_aliased = 100
# aliases of a latent, at most: a power of two
copies = 32
# where the model runs
device = "cpu"
# measure an SAE that fails its check
allow_bad_sae = False
# stop when a claim fails
strict = True

# %% tags=["hide-input"]
import numpy as np
import pandas as pd
from scipy.linalg import hadamard

from saecert import certify
from saecert.measurement.stand_in import as_sae
from saecert.reporting import figures
from saecert.reporting.aliases import (
    by_copies,
    leave_more,
    moved_table,
    unmoved_table,
)
from saecert.reporting.claims import claims
from saecert.reporting.perfect import EXACT, perfect_bounds
from saecert.reporting.study import open_study
from saecert.reporting.tables import certificates_table, footing, show
from saecert.statistics.rounding import upper_text

# %% [markdown]
# ## The certificate sees losses, not latents
#
# ````{prf:theorem} Blindness to the code
# :label: blindness
#
# Let $Q$ be an orthogonal $m \times m$ matrix that maps the span of the first $k$ latents onto itself. The SAE with encoder
# $Q \operatorname{enc}$ and decoder matrix $Q D$ (one atom a row of $D$) has the same reconstruction at every token, and so
# has its pool of the first $k$ latents. Hence all losses, all four terms and the bound are those of the original SAE, on
# every sample.
# ````
#
# ````{prf:proof}
# With codes as rows, the code is $c Q^\top$ and the reconstruction $c Q^\top Q D = c D$, bias added. Let $I_k$ keep the
# first $k$ latents. Since $Q$ maps their span onto itself and is orthogonal, it also maps the orthogonal complement onto
# itself, so $Q^\top I_k Q = I_k$, and the pool reconstructs $c Q^\top I_k Q D = c I_k D$.
# ````
#
# Here $Q$ mixes latents in blocks of $b$ neighbours in the frequency ranking, which have nothing in common but how often
# they fire: each new latent is a sum of all $b$ with signs, divided by $\sqrt b$ (a Hadamard matrix). Whoever wants
# activations without a sign splits each latent in two, one for each. In code it is the proxy `mixed(b)`. With numbers small
# enough to check by hand, 24 latents in blocks of 8 and pools of 16 and 24:

# %%
rng = np.random.default_rng(0)
codes = rng.standard_normal((5, 24)).clip(0)
atoms = rng.standard_normal((24, 7))
Q = np.kron(np.eye(3), hadamard(8) / np.sqrt(8))
for k in (16, 24):
    mixed_recons = (codes @ Q.T)[:, :k] @ (Q @ atoms)[:k]
    error = np.abs(mixed_recons - codes[:, :k] @ atoms[:k]).max()
    print(f"pool of {k}: reconstructions differ by {error:.0e}")
print(f"active: {(codes != 0).mean():.0%} of the latents before")
print(f"active: {(codes @ Q.T != 0).mean():.0%} of the latents after")

# %% [markdown]
# The same reconstruction to rounding, from a code that is no longer sparse.
#
# ## An encoder that learned nothing
#
# Its directions are drawn at random; the largest activations count (`n_active` of them), and only the atoms are fitted, by
# least squares on the first 200 discovery sequences. Whatever its latents respond to, nobody chose it. In code it is the
# proxy `random_encoder(n_active)`. There are three, with as many active latents as the SAE has on average, and with 4 and
# 16 times as many.

# %% tags=["hide-input"]
where = subject, sae, corpus, hook_name
how = n_seq, n_discovery, device, allow_bad_sae
study = open_study(*where, *how)
survey = study.measure("survey")
l0, d_sae = float(survey["l0"]), len(survey["token_count"])

# %% [markdown]
# The pool takes a share of the dictionary (`pool_share`) in whole blocks, so that the theorem on mixing applies to it.

# %% tags=["hide-input"]
width = min(d_sae, 4096)
n_active = [
    min(max(1, round(times * l0)), width) for times in (1, 4, 16)
]
n_active = list(dict.fromkeys(n_active))
blocks = [b for b in (2, 8, 64) if 4 * b <= d_sae]
largest = max(blocks, default=1)
k = max(1, round(pool_share * d_sae / largest)) * largest
k = min(k, d_sae // largest * largest)
extra = [f"random_encoder({n})" for n in n_active]
for b in blocks:
    extra += [f"mixed({b})", f"pooled(mixed({b}), {k})"]
losses = study.losses(
    pools=[k], controls=False, extra=extra, alphas=[alpha, 1e-6]
)
print(study)
print(f"{d_sae} latents, L0 {l0:.1f}, pool of {k}")
some = ", ".join(map(str, n_active))
print(f"random encoders: {some} active of {width}")

# %% [markdown]
# ## Same bound, other latents
#
# First what mixing does to the code, counted on discovery tokens: L0, and **purity**. For each new latent take the latent of
# the SAE that is active most often when the new one fires; purity is the share of firings at which that one is active (mean
# over latents that fire). The SAE's own latents are pure by definition.

# %% tags=["hide-input"]
mixing = study.measure("mixing", blocks=[1, *blocks])
labels = ["SAE", *(f"mixed in blocks of {b}" for b in blocks)]
code = pd.DataFrame(mixing, index=labels)[["l0", "purity"]]
code.columns = ["L0", "purity"]
show(
    code,
    "The code before and after mixing",
    note=f"Over {int(survey['n_tokens']):,} tokens of discovery.",
    significant=["L0"],
)

# %% [markdown]
# The larger the block, the denser the code, and the less a latent is about any one of the SAE's own. Now the certificates.
# Random encoders have no pool, and are to be compared with the SAE's whole dictionary. All bounds of this table hold
# together with probability $1-\delta$.

# %% tags=["hide-input"]
records = {"SAE": (losses, k)}
for label, b in zip(labels[1:], blocks, strict=True):
    records[label] = (as_sae(losses, f"mixed_{b}"), k)
records["whole dictionary"] = (losses, d_sae)
for n in n_active:
    record = as_sae(losses, f"random_{n}")
    records[f"random encoder, {n} active"] = (record, d_sae)

# %% [markdown]
# A certificate for each, at its part of $\delta$:

# %%
common = {"alpha": alpha, "inequality": inequality, "eps": ()}
certificates = {
    label: certify(
        record, pool=size, delta=delta / len(records), **common
    )
    for label, (record, size) in records.items()
}

# %% tags=["hide-input"]
terms = ["proxy risk", "reconstruction gap"]
terms += ["pool mismatch", "complexity"]
table = certificates_table(certificates).set_index("label")
table = table.rename_axis(None)
show(
    table[[*terms, "bound", "verdict"]],
    "Bounds of the SAE, its mixtures and random encoders, in bits",
    note=footing(certificates, delta)
    + "; delta for all bounds jointly",
)

# %% [markdown]
# These are further bounds of an SAE that other pages certify with other $n$, $\delta$ and $k$: see
# {ref}`one SAE, eight bounds <one-sae-eight-bounds>`. Read down the column: mixing moves the bound by no more than
# rounding, as the theorem says, and random encoders are certified, too, the better the more latents may be active.

# %% tags=["hide-input"]
own = certificates["SAE"].bound
moved = max(abs(certificates[x].bound - own) for x in labels)
denser = code["L0"].max() / code["L0"]["SAE"]
least_pure = code["purity"].min()
beaten = [c.verdict for c in certificates.values()]
print(f"mixing moves the bound by at most {upper_text(moved, 5)} bits")
print(f"mixing multiplies L0 by up to {denser:.1f}")
print(f"least purity: {least_pure:.2f}")

# %% [markdown]
# The code changes beyond recognition and the bound does not: neither L0 nor purity can be read off a bound.
#
# ## Latents split into aliases
#
# The opposite of mixing: each latent is split by a hash of the token at which it fires. Nothing of what the model computes changes, but
# the dictionary does.
#
# ````{prf:theorem} Aliases
# :label: aliases
#
# Let every latent $j$ be replaced by $r$ aliases $(j, s)$. Alias $(j, s)$ has the activation of $j$ at tokens of class $s$, 0 at
# others, and the atom of $j$. Then (i) the reconstruction is the same at every token, and so is that of any pool $A$ with its latents
# replaced by all their aliases: all losses, the bounds for a pool fixed beforehand (T1) and for the best of nested pools (T2), the direct
# bound, the price of explanation and the ladder are the same to the digit, and a concept count is $r$ times what it was. (ii) Paying for a pool read off the sample (T3), the whole dictionary costs $\ln(rm + 1)$
# nats, and exactly the $a_r \ge a_1$ aliases active there $\ln\binom{rm}{a_r} + \ln(rm + 1)$. (iii) The share of sequences that leave
# the pool of all aliases active on discovery does not fall when each alias is split further.
# ````
#
# ````{prf:proof}
# (i) At a token of class $s$ only alias $(j, s)$ of $j$ can be active, and it writes what $j$ wrote. A certificate with a fixed pool sees
# losses alone; a count counts aliases. (ii) is the price of a set under the uniform prior. (iii) Where an alias is active that discovery never
# saw, so is the finer alias of that token's class, and discovery did not see it either.
# ````
#
# A pool that holds some aliases of a latent and not others, such as the $k$ most frequent ones, masks latents at some tokens only. It is
# another proxy, with another mismatch and other concept counts, and would have to be measured anew: nothing here says which way they
# move.

# %% tags=["hide-input"]
n_few = min(n_aliased, len(losses))
few = study.beside(n_seq=n_few)
packed = few.measure("aliases", copies=copies)["active"]
counts = study.measure("alias_counts", copies=copies)
split = by_copies(
    losses,
    packed,
    counts,
    k,
    delta=delta,
    alpha=alpha,
    inequality=inequality,
)

# %% [markdown]
# First the limits that stay, and the count that does not:

# %% tags=["hide-input"]
each = f"n = {len(packed)}, delta = {delta:g} each, alpha = {alpha:g}"
unmoved = split["unmoved"]
show(
    unmoved_table(split),
    "Limits in bits, which aliases do not move, and concept counts",
    note=f"{each}, k = {k} times the aliases",
)

# %% [markdown]
# No limit moves, up to 32 aliases a latent, and the concept count is multiplied by their number. Now a pool that is read off the sample, paid for in three ways:

# %% tags=["hide-input"]
moved_by = moved_table(split)
costs = [name for name in moved_by if "nats" in name[0]]
show(
    moved_by,
    "What they move: the price of a pool read off the sample",
    note=f"{each}; {inequality} in all",
    significant=costs,
)

# %% [markdown]
# A certificate that pays for a pool read off the sample depends on how
# the dictionary is written down. How much depends on the form. The papers', which pays for exactly the active set, says nothing from two aliases on
# (vacuous from 12.00 bits); the product prior, which pays for each alias by itself, says nothing from four on. Under the uniform prior the cheapest superset hides it: a whole
# dictionary $r$ times as wide costs $\ln r$ nats more.
#
# The same for a mismatch that counts: how many sequences have any alias outside the pool of those that discovery saw.

# %% tags=["hide-input"]
show(
    split["leaving"].rename(columns={"unseen": "aliases outside"}),
    "Sequences that leave the pool seen on discovery",
    note=f"{each}; aliases outside: a sequence, on average",
)

# %% [markdown]
# With one alias each, all 100 sequences stay within the pool; with 32, none does. What the cost of a pool is multiplied by, from the first row to
# the last:

# %% tags=["hide-input"]
still = float((unmoved.max() - unmoved.min()).max())
prices = split["nats"].iloc[[0, -1]]
dearer = prices.iloc[-1] / prices.iloc[0]
rising = leave_more(split)
print(f"from 1 to {split.index[-1]} aliases, limits move")
print(f"by {still:g} bits; the cost of the pool is multiplied, with")
for way in dearer.index:
    print(f"  {way}, by {float(f'{dearer[way]:.2g}'):,g}")

# %% [markdown]
# ## A perfect proxy, and a vacuous certificate
#
# The model as a proxy of itself: no gap, no mismatch, no error of any kind. Its four-term bound is vacuous all the same as
# long as the sample is too small for what is asked of it: a tiny $\delta$, a wide support (a tiny $\alpha$), or a pool read
# off the sample. For the last there are two prices under a uniform prior, both with Hoeffding's bound as in the papers: that
# of *exactly* the latents active on the sample, and that of the cheapest set that contains them
# ({doc}`convergence <03_convergence>`). For the model as its own proxy nothing more need be measured. Each bound is a
# statement of its own at $\delta$.

# %% tags=["hide-input"]
whole = {**common, "pool": d_sae}
read_off = {
    "method": "in_sample",
    "prior": "uniform",
    "inequality": "hoeffding",
}

# %% [markdown]
# Four of the five settings by name; the fifth, the exact set, is always added:

# %%
own = "model as its own proxy"
asked = {
    own: {**whole, "delta": delta},
    "delta = 10⁻⁶": {**whole, "delta": 1e-6},
    "alpha = 10⁻⁶": {**whole, "delta": delta, "alpha": 1e-6},
    "cheapest superset": {**common, "delta": delta, **read_off},
}
wide = perfect_bounds(losses, asked, delta=delta, alpha=alpha)

# %% tags=["hide-input"]
vacuous = certificates["SAE"].uniform
show(
    wide.rename_axis(columns=None),
    "Bounds of the model as its own proxy, in bits, by n",
    note=f"each at delta = {delta:g}, alpha = {alpha:g} if not said; "
    f"k = {d_sae}, the active latents in the last row; vacuous from "
    f"{vacuous:.2f} bits",
    upper=wide.columns,
)

# %% [markdown]
# Every row begins above the line of the uniform predictor or near it, and falls with the sample: what was too little is the
# text, not the proxy. The row $\alpha = 10^{-6}$ is another loss, to be compared with the line only. It takes the
# exact set several times as many sequences as its cheapest superset to say anything.

# %% mystnb={"figure": {"caption": "Left: bound against number of active latents; the diamond is the SAE's whole dictionary, as random encoders have no pool. Mixing latents makes the code many times denser and leaves the bound where it was; random encoders, with atoms fitted, are certified too, the better the more latents may be active. Right: the model as a proxy of itself, in five settings, each point a certificate of its own; alpha = 10⁻⁶ is another loss, to be compared with the dashed line only. Dashed in both: the uniform predictor, above which a bound says nothing. Left the bounds hold jointly at delta, right each on its own; n, alpha and k are under the tables.", "name": "fig-limits"}, "image": {"alt": "Left, a flat line of the mixed codes from a few to hundreds of active latents, and a falling line of random encoders that starts above it and ends below. Right, five falling lines of bound against sequences; the one for exactly the active latents stays above the dashed line the longest."}} tags=["hide-input"]
points = [("SAE, then mixed", x, code["L0"][x]) for x in labels]
points += [
    ("random encoder", f"random encoder, {n} active", n)
    for n in n_active
]
points.append(
    ("whole dictionary", "whole dictionary", code["L0"]["SAE"])
)
drawn = pd.DataFrame(points, columns=["family", "label", "l0"])
drawn["bound"] = [certificates[x].bound for x in drawn["label"]]
faithful = wide.rename_axis("label").stack().rename("bound")
fig = figures.plot_denser_codes(drawn, faithful.reset_index(), vacuous)

# %% [markdown]
# Left, the line of the mixed codes is flat, however dense they are. Right, every line begins near the dashed one or above it, that of $\alpha = 10^{-6}$ far above, and all come down as the sample grows; the model's own predictions are the same throughout. Four cases of a sample too small, and one of a sample large enough:

# %% tags=["hide-input"]
n_all = len(losses)
small, middle = min(10, n_all), min(50, n_all)
cases = [("delta = 10⁻⁶", 2), ("alpha = 10⁻⁶", 2)]
cases += [("cheapest superset", small), (EXACT, middle), (own, n_all)]
bounds = [wide.loc[case] for case in cases]
for (label, n), bound in zip(cases, bounds, strict=True):
    says = "vacuous" if bound >= vacuous else "says something"
    print(f"{label}, n = {n}: {upper_text(bound)} bits, {says}")

# %% [markdown]
# What the page claims, each part checked against the numbers above:

# %% tags=["hide-input"]
perfect = certify(as_sae(losses, "clean"), **asked[own])
empty = all(bound >= vacuous for bound in bounds[:-1])
few = "needs a dictionary of eight latents"
claims(
    strict,
    {
        "mixing leaves the bound": moved < 0.001 if blocks else few,
        "mixed codes are denser and impure": bool(
            denser > 5 and least_pure < 0.5
        )
        if blocks
        else few,
        "aliases leave T1 as it is": still == 0,
        "aliases raise every price of T3": bool((dearer > 1).all()),
        "aliases leave the pool of discovery more often": rising,
        "random encoders are certified": all(
            c.verdict for x, c in certificates.items() if "random" in x
        ),
        "a perfect proxy can be vacuous": bool(
            empty and perfect.verdict
        ),
    },
)

# %% [markdown]
# ## What this shows, and what it does not
#
# A certificate is about what reaches the rest of the model, not about the code that brings it there. It cannot tell an SAE
# from the same SAE with its latents mixed. Nor does sparsity make up for it: on the shipped subject an encoder whose
# directions never saw data, with as many active latents as the SAE, has a larger bound than the SAE's whole
# dictionary, and with 16 times as many a smaller one (bounds, not a paired test). What latents mean has to be argued for separately, with L0 beside every bound and a
# control like these. {doc}`Page 21 <21_recovery>` has the counterexample with the truth at hand: in a world made of known features, four kinds of SAEs that recover none of them have a splice error certified to be at most 0.290 to 0.382, the true decoder one of at most 0.304. Conversely, a vacuous certificate is no evidence against a proxy: the model itself gets one from too
# small a sample. It does *not* follow that certificates are idle: what {doc}`shuffling codes <12_shuffling>` destroys, they
# notice.
#
# ## Exercise
#
# Run `python -m saecert run 16_limits -p n_seq=100`, which reads what is kept, then the same with `-p pool_share=0.25` as well, which measures anew
# for some minutes. Predict first whether mixing still leaves the bound where it was, which of the four terms grow, and which rows do
# not move. Then compare the two tables of bounds.
#
# ```{admonition} Answer
# :class: dropdown
# Mixing still leaves it: the pool has 384 latents, whole blocks again, so that {prf:ref}`blindness`
# applies, and the first four rows agree at 7.50 bits where they agreed at 5.73. What grows is the
# mismatch, from 0.10 to 1.03 bits, since three quarters of the latents are missing from the
# reconstruction, and with it the proxy risk, from 5.08 to 6.01; the gap is that of the whole SAE
# and stays 0.09. Rows of the whole dictionary and of the random encoders have no smaller pool and
# do not move by a digit.
# ```
