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
# # 13 · More text does not rescue a random decoder; 72 principal components are certifiably worse than an SAE with 24 active latents, 112 are not told apart from it
#
# **Question.** If the decoder is random, does enough text hide it? And does a sparse code do better than plain principal components?
#
# The SAE's decoder is replaced by a random one, the SAE by principal components, by a constant, or by noise as large as its error: how far
# the bound falls as sequences are added, and the floor that remains when complexity has vanished. Symbols are those of
# {doc}`the page on the four terms <02_four_terms>`; $v$ is the joint loss. What this page measures is kept under `measurements/`.

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
# numbers of principal components besides L0 and a match of FVU
components = [36, 48, 72, 84, 96]
# of random directions
seed = 0
# where the model runs
device = "cpu"
# measure an SAE that fails its check
allow_bad_sae = False
# stop when a claim fails
strict = True

# %% tags=["hide-input"]
from math import log, log2

import matplotlib.pyplot as plt
import numpy as np

from saecert.certificates.terms import joint_loss
from saecert.measurement.named import parse
from saecert.reporting import figures, stand_ins
from saecert.reporting.claims import claims, decided
from saecert.reporting.study import open_study, wrapped
from saecert.reporting.tables import show
from saecert.statistics.inequalities import INEQUALITIES
from saecert.statistics.rounding import upper_text

# %% [markdown]
# ## The floor under a bound
#
# ````{prf:theorem} Floor of a certificate
# :label: floor-of-a-certificate
#
# Let $g$ be any proxy, all of it kept ($A$ the whole dictionary), and $U_n$ the bound on $\mathbb{E} v$ from $n$ sequences by an inequality whose
# width vanishes as $n$ grows. Then $U_n \to \mathbb{E} v$ in probability, and
#
# $$\mathbb{E} v \;=\; \mathbb{E} \min\bigl\{\ell_f + 2(\ell_g - \ell_f)_+,\ \mathrm{hi}\bigr\} \;\ge\; \max\{R(f), R(g)\}.$$
# ````
#
# ````{prf:proof}
# With $g_A = g$, $v = \min\{\ell_g + |\ell_f - \ell_g|, \mathrm{hi}\}$. Where $\ell_g \ge \ell_f$ the first entry of the minimum is $\ell_f + 2(\ell_g - \ell_f)$, elsewhere it is $\ell_f$. The
# sample mean of $v$ tends to its expectation by the law of large numbers, and $U_n$ to the sample mean by assumption.
# ````
#
# So a proxy with an **excess loss** $d$, which loses $d$ bits a token more than the model, has a floor about $2d$ above the model's risk,
# unless the ceiling comes first. More text does not help. On made-up losses with $d = 1$, where the floor is known:

# %%
rng = np.random.default_rng(seed)
made_up = rng.uniform(2, 6, size=20_000)
v = joint_loss(made_up, made_up + 1, made_up + 1, hi=13.0)
bound_of = INEQUALITIES[inequality]
bounds = {
    n: float(bound_of(v[:n], 0.0, 13.0, log(1 / delta)))
    for n in (20, 200, 2_000, 20_000)
}

# %% tags=["hide-input"]
print("true floor 6.00")
for n, bound in bounds.items():
    print(f"bound at n = {n:>6}: {upper_text(bound)}")
assert 6 < bounds[20_000] < 6.1 < bounds[20]

# %% [markdown]
# The bound falls towards 6 and stops there.
#
# ## Controls
#
# A *control* is something that stands in for the SAE, to compare it with. Most of these were not made by training an SAE:
#
# * **random decoder**: encoder and activations are the SAE's, every atom is a random unit vector. *Norm matched*: what it writes is
#   rescaled at each token to the norm that the SAE writes there.
# * **PCA**: projection onto principal components: as many as the SAE has active latents on average (L0), as many as leave no larger fraction of
#   the variance unexplained than the SAE (FVU), and numbers between. Both numbers and the components come from discovery.
# * **noise**: the native activation plus a random vector as long as the SAE's error at that token, the paper's control of the same norm;
#   {doc}`the page on horizons <17_amplification>` follows it block by block.
#
# Two more are one *ablation*: the **mean** activation, a constant; and one *shuffling*, of
# {doc}`the page on shuffled codes <12_shuffling>`, the **permuted dictionary**: the SAE's own atoms, paired with its latents at random.
# Unlike random vectors they lie where activations lie.
#
# First the study, and what it says of the SAE on discovery:

# %%
study = open_study(
    subject,
    sae,
    corpus,
    hook_name=hook_name,
    n_seq=n_seq,
    n_discovery=n_discovery,
    device=device,
    allow_bad_sae=allow_bad_sae,
)
survey = study.measure("survey")

# %% [markdown]
# With its L0 and its FVU the controls are fixed, in the folded cell.

# %% tags=["hide-input"]
l0, fvu = float(survey["l0"]), float(survey["fvu"])
by_l0, by_fvu, counts = stand_ins.component_counts(
    l0, survey["variances"], fvu, components
)
matched = f"random_decoder(match_norm=True, seed={seed})"
controls = {
    "random decoder": f"random_decoder(seed={seed})",
    "random decoder, norm matched": matched,
    "permuted dictionary": f"permuted_dictionary(seed={seed})",
    **{f"PCA, {count} components": f"pca({count})" for count in counts},
    "mean ablation": "mean",
    "noise of the error's norm": f"noise(seed={seed})",
}

# %%
losses = study.losses(
    pools=[],
    controls=False,
    extra=list(controls.values()),
    alphas=[alpha],
)

# %% tags=["hide-input"]
print(study)
print(f"width {len(survey['variances'])}; SAE on discovery:")
print(f"  L0 {l0:.1f}: compare {by_l0} components")
print(f"  FVU {fvu:.3f}: {by_fvu} components leave as little")
names = {"SAE": "full"} | {
    label: parse(name).name for label, name in controls.items()
}
records = stand_ins.records_of(losses, names)

# %% [markdown]
# ## Bounds as sequences are added
#
# Each point holds on its own at $\delta$, with the whole dictionary kept: there is no pool to choose. The SAE has
# {ref}`other bounds on other pages <one-sae-eight-bounds>`, with other $n$, $\delta$ and $k$.

# %%
steps = (20, 50, 100, 200, 500, 1000, 2000)
sizes = [n for n in steps if n < len(losses)] + [len(losses)]
curve = stand_ins.convergence(
    records,
    sizes,
    delta=delta,
    alpha=alpha,
    inequality=inequality,
    eps=(),
)

# %% tags=["hide-input"]
setting = f"delta = {delta:g}, alpha = {alpha:g}, k = {losses.d_sae}"
by_size = curve.pivot(index="label", columns="n_seq", values="bound")
show(
    by_size.reindex(list(names)).rename_axis("proxy"),
    "Bounds in bits per token, by number of sequences",
    note=f"{setting} of {losses.d_sae} latents; each at delta",
    upper=[str(n) for n in sizes],
)

# %% [markdown]
# Where does more text not help?

# %% tags=["hide-input"]
uniform = log2(losses.n_vocab)
above = by_size[sizes[-1]] > uniform
stuck = [name for name in names if above[name]]
print(f"four-term bound not below {uniform:.2f} bits at the largest n:")
print(wrapped("; ".join(stuck) or "none"))

# %% [markdown]
# These sit at the ceiling from 20 sequences on. The other bounds fall most between 20 and 100 sequences, and little after.
#
# ## What remains
#
# The limits bracket the floors $\mathbb{E} v$, all of them jointly at $\delta$; and the excess of each floor over the SAE's, paired by
# sequence, jointly over *all* stand-ins at a $\delta$ of its own. The risk of a proxy comes first, because the joint loss counts its excess
# loss twice. *Not clipped* is the mean of $\ell_g + |\ell_f - \ell_g|$, which may leave the range of losses.

# %%
floors = stand_ins.floors(records, alpha, delta, inequality)
own, excess = stand_ins.printed_floors(floors)

# %% tags=["hide-input"]
n_controls = len(controls)
show(
    own,
    "Sample means, and limits on the floor, bits per token",
    note=f"n = {len(losses)}, {setting}; all limits jointly",
)

# %% [markdown]
# Whether a floor is above the SAE's is read off the differences, sequence by sequence, whose limits hold for all stand-ins at once:

# %% tags=["hide-input"]
show(
    excess,
    "Floor minus the SAE's floor, bits per token, paired",
    note=f"n = {len(losses)}, {setting}; J = {n_controls} jointly",
)

# %% [markdown]
# "Not told": the two floors are not {term}`told apart <told>`. A proxy whose floor is above $\log_2 V$ is not thereby worse than the uniform predictor: its *risk*, in the first column, may be below.
# What cannot fall below it, at any number of sequences, is its four-term bound. Four stand-ins have the same joint loss, 13.00,
# because all their sequences reach the ceiling; by how much they pass it is in the column *not clipped*.

# %% mystnb={"figure": {"caption": "Bound against number of certification sequences; above the dashed line it says nothing. Each point holds on its own at delta. Lines at the ceiling coincide; stand-ins that would hide others are left out, and are in the table.", "name": "fig-random-decoder"}, "image": {"alt": "Lines of bound against sequences on a logarithmic axis: random decoder and mean ablation stay at the ceiling above the dashed line of the uniform predictor, as many principal components as active latents level off in between, and the SAE and as many components as match its FVU fall far below the line."}} tags=["hide-input"]
drawn = ["SAE", "random decoder", f"PCA, {by_l0} components"]
drawn += [f"PCA, {by_fvu} components", "mean ablation"]
figures.plot_bounds(curve[curve["label"].isin(drawn)], uniform)
plt.show()

# %% [markdown]
# Flat lines at the top: with a random decoder, or a constant, the ceiling is reached at once. The SAE and as many components as match its FVU run
# together; with as many components as active latents the line levels off in between.

# %% mystnb={"figure": {"caption": "What remains when complexity has vanished: limits on the expectation of the clipped loss (dots; all jointly at delta), and the mean of the same sum without clipping (crosses). Dashed: the uniform predictor. Which floors are told apart from the SAE's is in the table, all differences jointly.", "name": "fig-floors"}, "image": {"alt": "Dots with short error bars, one row a proxy: the random and permuted decoders and mean ablation lie right of the dashed line of the uniform predictor, with crosses still further right; the floors of principal components fall towards that of the SAE as components are added; noise lies at the SAE."}} tags=["hide-input"]
ends = {"v from": "lower", "v": "mean", "v to": "upper"}
figures.plot_floors(
    floors.rename(columns=ends).reset_index(names="label"), uniform
)
plt.show()

# %% [markdown]
# From 24 to 112 components the floor falls to that of the SAE. Right of the dashed line stand the four that the ceiling cuts off; crosses show
# that they are not equally bad.
#
# ## Next to the predecessor's floors
#
# The predecessor reports for a random decoder of unit columns a floor near 22 bits on GPT-2 small and 26 on Gemma-2B, at up to a million
# tokens {cite}`ssd2026`. Both exceed $\log_2 V$ (15.6 and 18.0 bits) and every possible smoothed loss: its sum is not clipped. The
# comparable column here is *not clipped*; what a certificate says is the clipped one, which ends at the ceiling.

# %% tags=["hide-input"]
ours = floors.loc["random decoder", "unclipped"] / uniform
print("random decoder, sum without clipping over log2 V:")
print(f"  GPT-2 small, as reported: {22 / 15.617:.2f}")
print(f"  Gemma-2B, as reported:    {26 / 17.966:.2f}")
print(f"  measured here:            {ours:.2f}")

# %% [markdown]
# In units of $\log_2 V$ the three are close, on three different models and texts, as they must be for any proxy near guessing of a model
# that loses about two fifths of it: here the proxy loses 0.94 and the model 0.41, and $2 \times 0.94 - 0.41 = 1.47$.
#
# Each claim holds where the limits show it, does not hold where they show its contrary, and is undecided otherwise.

# %% tags=["hide-input"]
random = ["random decoder", "random decoder, norm matched"]
stay = decided(
    (floors.loc[random, "v from"] > uniform).all(),
    (floors.loc[random, "v to"] <= uniform).any(),
)
match = floors.loc[f"PCA, {by_fvu} components"]
near = decided(
    match["above SAE to"] <= 0.1, match["above SAE from"] > 0.1
)

# %% [markdown]
# Which numbers of components are certifiably worse is asked of each by itself, and then of all.

# %% tags=["hide-input"]
tested = {by_l0, 48, 72, *counts}
worse = {
    n: stand_ins.certifiably_worse(floors, f"PCA, {n} components")
    for n in tested
}
told = stand_ins.verdicts(floors)
untold = [
    n for n in counts if told[f"PCA, {n} components"] == "not told"
]
apart = decided(not untold, False, f"not {', '.join(map(str, untold))}")

# %% [markdown]
# The claims:

# %% tags=["hide-input"]
within = f"{by_fvu} components (FVU): at most 0.1 bits above the SAE"
claims(
    strict,
    {
        "floors of random decoders stay above uniform": stay,
        f"{by_l0} components (L0) certifiably worse": worse[by_l0],
        "48 components certifiably worse": worse[48],
        "72 components certifiably worse": worse[72],
        within: near,
        "all numbers of components told apart from the SAE": apart,
    },
)

# %% [markdown]
# ## What this shows, and what it does not
#
# With the SAE's codes and a decoder that does not belong to them the floor of the four-term bound lies above the uniform predictor,
# whether the atoms are random, of matched norm, or the SAE's own at the wrong latents: it is the pairing of code and atom that is
# certified. Principal components are a fairer control. As few as the SAE has active latents, and up to three times as many, are certified to be
# worse;
# as many as match its FVU, and noise as long as its error, are not told apart from it on this sample: a certificate counts neither
# components nor latents. It does *not* show that all broken decoders are equally bad: the ceiling hides by how much each fails, which
# the column *not clipped* shows and nothing certifies. And what is not told apart may still differ, by less than these limits.
#
# A difference in cross-entropy ranks these stand-ins as the column of risks does; it does not say which ranks could come out the other way on
# another sample. The table of differences does.
#
# ## Exercise
#
# With 200 sequences instead of 500, which numbers of components are no longer certifiably worse? And do the limits of the differences
# widen like one over the square root of $n$, or faster? Predict first, then run `python -m saecert run 13_random_decoder -p n_seq=200`.
#
# ```{admonition} Answer
# :class: dropdown
# With 200 sequences 72 components are undecided as well, from $-0.09$ to $0.65$ bits where it was
# from 0.13 to 0.44; 24, 36 and 48 stay worse. The limits lie 0.74 bits apart, 2.4 times as far as
# with 500, while one over the square root of $n$ would be 1.6 times and one over $n$ 2.5 times. Two
# proxies of one model mostly differ by little, so nearly all of the width is what a sample did not
# show, which shrinks like $1/n$. With more than 500 sequences 84 components should be told apart
# first, 0.14 bits above the SAE in the sample; 96 and the noise, 0.03 from it, need many more.
# ```
