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
# # 22 · Codes are shorter than their activations at every layer, and the published measure of that says nothing of the decoder
#
# **Question.** If the atoms of a decoder are nearly orthogonal, a code is as long as the activation that it stands for. Are activations the
# size they should be? And what does it say of the decoder if they are not?
#
# The number of active latents is usually fixed beforehand. {cite:t}`lee2025` propose to read it off the activation instead: the norm of a code should be that
# of its activation, and by how much it is not is their measure of an SAE, $\varepsilon_{\mathrm{LBO}}$. This page repeats
# it at every layer, and derives what the norms really say. What it measures is kept under `measurements/`.

# %% tags=["parameters"]
# the shipped one, one of the paper's, or a model folder
subject = "docstring-6l"
# its SAEs, if not in the model folder
sae = ""
# text: a name, a file or a hub data set
corpus = "docstrings"
# hook points, separated by commas; empty: all that have an SAE
hooks = ""
# certification sequences; 0: all
n_seq = 500
# probability that a statement is wrong
delta = 0.05
# weight of the uniform distribution
alpha = 0.5
# concentration inequality
inequality = "dirichlet"
# of the choice of tokens and of simulations
seed = 0
# where the model runs
device = "cpu"
# measure an SAE that fails its check
allow_bad_sae = False
# stop when a claim fails
strict = True

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import torch

from saecert.dictionaries import norm_limits
from saecert.dictionaries.quasi_orthogonality import (
    coherence,
    quasi_orthogonality,
    welch_limit,
)
from saecert.reporting import figures, layers, norm_figures, norms
from saecert.reporting.claims import claims
from saecert.reporting.study import open_study
from saecert.reporting.tables import show
from saecert.statistics.rounding import lower_text, upper_text

# %% [markdown]
# ## What norms say of angles
#
# Letters on this page and the next are those of {cite:t}`lee2025`: $z$ is an activation, $f \ge 0$ its code of $h$ latents, $w_i$ the rows of the decoder and
# $b$ its bias. Let $\tilde f$ be the code in units of what it writes, $\tilde f_i = f_i \lVert w_i \rVert$, and one entry more, $\lVert b \rVert$, for the
# bias: an atom that is always active. With unit atoms $u_i$ the reconstruction is $\hat z = \sum_i \tilde f_i u_i$. The **coherence** of atoms and bias is
# $\varepsilon = \max_{i \ne j} \lvert \langle u_i, u_j \rangle \rvert$ over all $H$ of them, $H = h + 1$ or, where $b = 0$, $h$; they are then *$\varepsilon$-quasi-orthogonal*.
#
# ````{prf:theorem} Norms of codes and coherence
# :label: norms-and-coherence
#
# Let $k$ entries of $\tilde f$ differ from 0. (i) $\lVert \hat z \rVert^2 = \lVert \tilde f \rVert^2 + \sum_{i \ne j} \tilde f_i \tilde f_j \langle u_i, u_j
# \rangle$. (ii) For every token with $k \ge 2$
#
# $$\varepsilon \;\ge\; \varepsilon_{\hat z} = \frac{\bigl\lvert \lVert \hat z \rVert^2 - \lVert \tilde f \rVert^2 \bigr\rvert}{\lVert \tilde f
# \rVert_1^2 - \lVert \tilde f \rVert_2^2}.$$
#
# (iii) If $\hat z = z$, then $\lVert \tilde f \rVert^2$ is at least $\lVert z \rVert^2 / (1 + \varepsilon (H-1))$ and, if $\varepsilon (H-1) < 1$, at most $\lVert z \rVert^2 / (1 - \varepsilon
# (H-1))$, and $\varepsilon_{\mathrm{LBO}} = \bigl\lvert \lVert z \rVert^2 - \lVert \tilde f \rVert^2 \bigr\rvert / \bigl((h-1) \lVert \tilde f
# \rVert^2\bigr)$ is at most $\frac{k-1}{h-1}\, \varepsilon_{\hat z}$ for $k \ge 2$. (iv) No decoder of $h \ge d$ atoms in $d$ dimensions has a coherence below
# $\sqrt{(h-d)/(d(h-1))}$ {cite}`welch1974`.
# ````
#
# ````{prf:proof}
# (i) Multiply $\sum_i \tilde f_i u_i$ with itself; $\lVert u_i \rVert = 1$. (ii) The sum over pairs is at most $\varepsilon \sum_{i \ne j} \lvert \tilde f_i
# \tilde f_j \rvert = \varepsilon (\lVert \tilde f \rVert_1^2 - \lVert \tilde f \rVert_2^2)$ in size. (iii) By Cauchy and Schwarz $\lVert \tilde f
# \rVert_1^2 \le k \lVert \tilde f \rVert_2^2$, so that the denominator of $\varepsilon_{\hat z}$ is at most $(k-1) \lVert \tilde f \rVert^2$, with $k \le H$ for the interval;
# the paper puts $(h-1) \lVert \tilde f \rVert^2$ there. (iv) The Gram matrix of the atoms has trace $h$ and rank $d$ at most, so its squared
# entries add up to $h^2/d$ or more; $h$ of them are 1, and the largest of the other $h(h-1)$ is at least their mean.
# ````
#
# $\varepsilon_{\mathrm{LBO}}$ divides by what the denominator would be if all $h$ latents were active alike. With $k$ of them it is too small by a factor of
# $(h-1)/(k-1)$ or more. At every layer here $(h-1)(h-d) > d$, so that by (iv) $\varepsilon (H-1) > 1$: the interval of (iii) has no upper end and says nothing from above. And it compares with $z$, while the identity is about $\hat z$: what the SAE leaves unexplained is taken for an angle.
#
# Random decoders of known coherence, random sparse codes with an error on top, the two readings of each token against the truth:


# %%
def readings(h, d, generator):
    """Largest eps_LBO and eps of 500 tokens, and the coherence."""
    atoms = torch.randn(h, d, generator=generator)
    active = torch.rand(500, h, generator=generator) < 10 / h
    codes = active * torch.rand(500, h, generator=generator)
    z = codes @ atoms + torch.randn(500, d, generator=generator)
    said = quasi_orthogonality(z, codes, atoms, torch.zeros(d))
    largest = [said[name].max() for name in ("eps_lbo", "eps_identity")]
    return [*map(float, largest), coherence(atoms).value]


# %% tags=["hide-input"]
generator = torch.Generator().manual_seed(seed)
for h, d in [(40, 20), (200, 20), (200, 100), (1000, 100)]:
    lbo, exact, truth = readings(h, d, generator)
    welch = welch_limit(h, d)
    print(
        f"h={h:<5}d={d:<4} eps_LBO {lbo:.4f}   Welch {welch:.3f}   "
        f"bound {exact:.3f} <= {truth:.3f}"
    )
    assert exact <= truth

# %% [markdown]
# Next: the same on real activations, at every token but BOS and the last of each sequence.

# %%
study = open_study(
    subject,
    sae,
    corpus,
    hook_name=hooks or "all",
    n_seq=n_seq,
    device=device,
    allow_bad_sae=allow_bad_sae,
)
places = layers.by_depth(study.hook_names)
measured = study.measure("norms", hook_names=places, seed=seed)

# %% tags=["hide-input"]
print(study)
labels = layers.labels_of(places)
n_all = len(measured[places[0]]["norm_z"])

# %% [markdown]
# ## ZF plots
#
# Norms of codes against norms of activations, with the interval of (iii) for three values of $\varepsilon (H-1)$. Tokens of one sequence are not
# independent, so limits on medians are from one token drawn at random from each sequence: order statistics, which assume nothing about the
# distribution. All limits of a table hold together with probability $1-\delta$.

# %% mystnb={"figure": {"caption": "Norm of the code against norm of the activation, one token drawn from each of 500 sequences of docstring-6l, at the first and the last layer. Solid: equal norms; broken lines: the interval of the theorem for three values of eps times (H - 1), of which the widest has no upper end. Nearly all tokens lie below the line.", "name": "fig-zf"}, "image": {"alt": "Two scatter plots. At the first layer points spread along a ray well below the line of equal norms; at the last layer they lie below it, too."}} tags=["hide-input"]
ends = dict.fromkeys((places[0], places[-1]))
titles = {name: f"layer {layers.labels_of([name])[0]}" for name in ends}
norm_figures.plot_norms(norms.points(measured, titles))
plt.show()

# %%
medians = norm_limits.medians(measured, delta)

# %% tags=["hide-input"]
note = f"n = {n_all} sequences, one token of each; delta = {delta:g}"
show(
    norms.by_name(medians, ["ratio", "nmse"], labels).rename_axis(
        "layer"
    ),
    "Medians over tokens: how long codes are, and how wrong",
    note=f"{note}, jointly with the next table",
    decimals=3,
)

# %% tags=["hide-input"]
show(
    norms.by_name(
        medians, ["eps_lbo", "eps_identity"], labels
    ).rename_axis("layer"),
    "Medians over tokens: what norms say of angles",
    note=note,
    decimals=3,
)

# %% [markdown]
# Codes are shorter than their activations, by more than a quarter at the first layer and by a ninth at the last. So by (i), as far as errors are small, cosines of atoms that are
# active together are positive on average: they point the same way, as they would if a common direction was written by many of them. As reported elsewhere:

# %% tags=["hide-input"]
show(
    norms.reported(),
    "Medians over tokens of 1,000 sequences, as reported",
    note="no limits were reported; Welch's limit is ours",
    decimals=3,
)

# %% [markdown]
# The same picture on two other models, but for the first layer of Gemma-2-2B. And $\varepsilon_{\mathrm{LBO}}$ lies hundreds to more than ten thousand times below Welch's limit there. *Every*
# decoder with so many atoms has a larger coherence than that. So the number cannot tell a good decoder from a bad one as a statement about its angles; it is the ratio of norms in other units, divided by
# the number of latents.
#
# ## Against the truth
#
# The coherence itself is no secret: it is a maximum over pairs of atoms, computed here exactly, a block at a time.

# %%
truth = norm_limits.coherences(measured)

# %% tags=["hide-input"]
show(
    truth.set_axis(labels).rename_axis("layer"),
    "Largest of any token of the sample, and the truth",
    note=f"n = {n_all} sequences, all tokens; facts, not limits",
    decimals=4,
)

# %% tags=["hide-input"]
sound = (truth["eps_identity"] <= truth["with bias"]).all()
vacuous = (truth["eps_lbo"] < truth["Welch"]).all()
bites = (truth["eps_identity"] > truth["Welch"]).all()
print(f"bound of every token at most the truth: {sound}")
print(f"paper's number below Welch's limit everywhere: {vacuous}")
print(f"bound of some token above it at every layer: {bites}")

# %% [markdown]
# The bound from $\hat z$ is valid at every token, as it must be, and at some tokens of every layer larger than Welch's limit: there it does say something of *this*
# decoder. It stays far below the truth. A sum over pairs is a weighted mean of cosines, and the coherence is that of the worst pair of all, which
# need not be active at any token.
#
# How far tokens are outside the bands, and means that have a range: limits over sequences.

# %%
means = norm_limits.means(measured, delta, inequality)

# %% tags=["hide-input"]
show(
    norms.by_name(means, norm_limits.SHARES, labels).rename_axis(
        "layer"
    ),
    "Mean share of tokens outside the band",
    note=f"n = {n_all}, delta = {delta:g}; all limits jointly",
    decimals=3,
)

# %% [markdown]
# ## Do norms say what a splice costs?
#
# A code that is too short might be one that the model misses something of. At each token: by how many bits the next token becomes less likely when reconstructions
# are spliced in, and by how much the prediction moves (total variation). Kendall's $\tau$ over the tokens of a sequence is a number in
# $[-1, 1]$, so its mean over sequences has certified limits. Where codes are shorter than activations, $\varepsilon_{\mathrm{LBO}}$ and the deviation
# $\lvert \lVert \tilde f \rVert / \lVert z \rVert - 1 \rvert$ rank tokens alike.

# %%
within = norm_limits.ranks_within(measured, delta, inequality)

# %% tags=["hide-input"]
note = f"n = {n_all}, delta = {delta:g}; all limits jointly"
show(
    norms.ranks_table(within, "total_variation", labels),
    "Mean of Kendall's tau with total variation, by layer",
    note=note,
    decimals=3,
)

# %% tags=["hide-input"]
show(
    norms.ranks_table(within, "loss_increase", labels),
    "Mean of Kendall's tau with the increase in loss, by layer",
    note=f"{note}, with the table above",
    decimals=3,
)

# %% mystnb={"figure": {"caption": "Mean of Kendall's tau over the tokens of a sequence, by layer, n = 500. Bars are limits that hold together at delta = 0.05. The error's size ranks tokens by how far predictions move; the norm of the code does so weakly, and the bound from z_hat the wrong way round.", "name": "fig-norm-ranks"}, "image": {"alt": "Line plot of rank correlations with total variation against layer, with that of the normalised error on top, those of eps_LBO and of the deviation of norms in the middle, and that of the bound below zero."}} tags=["hide-input"]
figures.plot_layers(norms.rank_panels(within, "total_variation"))
plt.show()

# %% [markdown]
# Between tokens of *different* sequences, one of each, and between layers. The first has limits of its own, wider ones: a U-statistic's. The second is about six
# numbers, each known up to its limits, for total variation and for the smoothed loss: what is printed is the smallest and the largest $\tau$ that these leave open.

# %%
between = norm_limits.ranks_between(measured, delta)

# %% tags=["hide-input"]
show(
    norms.ranks_table(between, "total_variation", labels),
    "Kendall's tau with total variation over tokens of different texts",
    note=f"n = {n_all} tokens, delta = {delta:g}; all limits jointly",
    decimals=3,
)

# %%
by_layer = None
if len(places) > 1:
    losses = study.losses(
        hook_names=places, pools=[], controls=False, alphas=[alpha]
    )
    rises, largest = norms.increases(losses, alpha)
    by_layer = norm_limits.ranks_of_saes(
        measured, rises, largest, delta, inequality
    )

# %% tags=["hide-input"]
caption = "Kendall's tau of medians with mean costs"
note = f"{len(places)} layers, n = {n_all}, delta = {delta:g}"
note += f", alpha = {alpha:g}; all limits jointly"
None if by_layer is None else show(
    by_layer.rename(index=norms.WORDS), caption, note=note, decimals=2
)

# %% [markdown]
# Of the six layers the error's size gives the right order, and the norms give the reverse: where codes are nearest in length to their activations, at the last layers, a
# splice moves predictions most. Of the smoothed loss the sample says the same, and its limits leave everything open: a loss may change by many bits, and 500 sequences are few for that. With so few layers that is a fact about this subject, in which errors, norms and costs all change with depth.

# %%
pair = ("nmse", "eps_lbo")
better = norm_limits.better_ranked(
    measured, "total_variation", pair, delta, inequality
)

# %% tags=["hide-input"]
least = better["lower"].min()
print("NMSE ranks tokens better than eps_LBO, at every layer,")
print(f"by at least {lower_text(least, 3)} of tau on average")
most = medians["ratio"]["upper"].max()
print(f"median code: at most {upper_text(most, 3)} times as long")

# %%
alone = "needs two hook points" if len(places) == 1 else ""
claims(
    strict,
    {
        "no bound exceeds the coherence of atoms and bias": bool(sound),
        "eps_LBO is below Welch's limit at every token": bool(vacuous),
        "the bound from z_hat exceeds it at some tokens": bool(bites),
        "the median code is shorter, at every layer": bool(most < 1),
        "NMSE ranks what a splice does better than eps_LBO": bool(
            least > 0
        ),
    },
)

# %% [markdown]
# ## What this shows, and what it does not
#
# On `docstring-6l`, as reported for GPT-2 Small and Gemma-2-2B, codes are shorter than activations: atoms that are active together agree more than
# orthogonal ones would. Read as a statement about the decoder, $\varepsilon_{\mathrm{LBO}}$ is below what every decoder of the same size satisfies, here and in the reported table. The
# bound with $\hat z$ and the active atoms alone is valid and, at the median token, 61 to 115 times larger, and still no estimate of the coherence.
#
# As a sign of what a splice will do to a prediction, the norm of a code is a weak one; the size of the error, which is as easily had, is a better one. How much *worse* the prediction of the
# next token gets is ranked by neither to speak of. That does not make
# norms useless for *choosing* the number of latents, which is what top-AFA SAEs do: `python -m saecert train sae --architecture top_afa` trains one.
#
# It does *not* show that coherence matters. A decoder may have a pair of nearly equal atoms that are never active together, and lose nothing
# by it. And ranks say nothing of causes: at a token where the SAE is wrong, everything about its code may be unusual.
#
# ## Exercise
#
# Which of the numbers on this page change if every row of the decoder is scaled to unit length, and its latents by what it was? Predict first, then try it
# with `quasi_orthogonality` on the random decoders above.
#
# ```{dropdown} Answer
# None. $\tilde f$ is the code in units of what it writes, so that lengths of rows cancel, and angles do not know of lengths. Only a *selection* that reads latents before they are
# scaled could change.
# ```
