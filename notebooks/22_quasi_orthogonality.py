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
# # 22 · Most codes are shorter than their activations, at every layer, and the published measure of that says nothing of the decoder
#
# **Question.** Are codes as long as their activations? And if not, what does that say of the decoder?
#
# If the atoms of a decoder are nearly orthogonal, a code is as long as the activation that it stands for. The number of active latents is usually fixed beforehand.
# {cite:t}`lee2025` propose to read it off the activation instead: the norm of a code should be that of its activation. By how much it is not is their measure of an SAE,
# $\varepsilon_{\mathrm{LBO}}$. This page repeats it at every layer, and derives what the norms really say. What it measures is kept under `measurements/`.

# %% mystnb={"code_prompt_show": "Parameters of this page", "code_prompt_hide": "Hide the parameters"} tags=["parameters", "hide-input"]
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
import pandas as pd
import torch

from saecert.dictionaries import norm_limits
from saecert.dictionaries.quasi_orthogonality import (
    coherence,
    quasi_orthogonality,
    welch_limit,
)
from saecert.reporting import figures, layers, norm_figures, norms
from saecert.reporting.claims import all_above, all_below, claims
from saecert.reporting.study import open_study
from saecert.reporting.tables import show
from saecert.statistics.rounding import lower_text, upper_text

# %% [markdown]
# ## What norms say of angles
#
# If active atoms point partly the same way, a short code makes a long vector. That is all that norms can say of angles; here it is in numbers.
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
# {cite:t}`lee2025` put $(h-1) \lVert \tilde f \rVert^2$ there. (iv) The Gram matrix of the atoms has trace $h$ and rank $d$ at most, so its squared
# entries add up to $h^2/d$ or more; $h$ of them are 1, and the largest of the other $h(h-1)$ is at least their mean.
# ````
#
# So there are two readings of $\varepsilon$ from one token. $\varepsilon_{\hat z}$ of (ii), the **bound from** $\hat z$, is "ε from ẑ" in tables; it is never above the coherence. $\varepsilon_{\mathrm{LBO}}$ of {cite:t}`lee2025`, "published ε" in tables, is no such
# bound, for two reasons. It divides by what the denominator would be if all $h$ latents were active alike: with $k$ of them it is too small by a factor of
# $(h-1)/(k-1)$ or more. And it compares with $z$, while the identity is about $\hat z$: what the SAE leaves unexplained is taken for an angle.
#
# Nor does the interval of (iii) limit a code from above here. At every layer $(h-1)(h-d) > d$, so by (iv) $\varepsilon (H-1) > 1$, and the interval has no upper end.
#
# A check on random decoders of known coherence, with random sparse codes and an error on top. Each row has the largest of both readings over 500 tokens, Welch's limit of (iv), and the coherence itself, last:


# %%
def readings(h, d, generator):
    """Largest readings of 500 tokens, and the coherence."""
    atoms = torch.randn(h, d, generator=generator)
    active = torch.rand(500, h, generator=generator) < 10 / h
    codes = active * torch.rand(500, h, generator=generator)
    z = codes @ atoms + torch.randn(500, d, generator=generator)
    said = quasi_orthogonality(z, codes, atoms, torch.zeros(d))
    largest = [said[name].max() for name in ("eps_lbo", "eps_identity")]
    return [*map(float, largest), coherence(atoms).value]


# %% tags=["hide-input"]
generator = torch.Generator().manual_seed(seed)
rows = {}
for h, d in [(40, 20), (200, 20), (200, 100), (1000, 100)]:
    lbo, exact, truth = readings(h, d, generator)
    rows[h, d] = (lbo, welch_limit(h, d), exact, truth)
    assert exact <= truth
names = ["published ε", "Welch's limit", "ε from ẑ", "coherence"]
known = pd.DataFrame(rows, index=names).T.rename_axis(["h", "d"])
show(known, "Random decoders of h atoms in d dimensions", decimals=3)

# %% [markdown]
# In every row $\varepsilon_{\mathrm{LBO}}$ is below Welch's limit, so it says nothing of these decoders, and the bound from $\hat z$ is above it. Next: the same on real activations, at every token but BOS and the last of each sequence.

# %% tags=["hide-input"]
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
print(study)
labels = layers.labels_of(places)
n_all = len(measured[places[0]]["norm_z"])

# %% [markdown]
# ## ZF plots
#
# A ZF plot has norms of codes ($f$) against norms of activations ($z$). Broken lines are the interval of (iii) for three values of $\varepsilon (H-1)$; each is called a **band**.
#
# Two tables follow the figure. **Norm ratio** is $\lVert \tilde f \rVert / \lVert z \rVert$ at a token, the length of the code over that of the activation. **NMSE**, the normalised mean squared error, is $\lVert z - \hat z \rVert^2 / \lVert z \rVert^2$ at a token. Tokens of one sequence are not
# independent, so limits on medians are from one token drawn at random from each sequence: order statistics, which assume nothing about the
# distribution. All limits of a table hold together with probability $1-\delta$.

# %% mystnb={"figure": {"caption": "Norm of the code against norm of the activation, one token drawn from each of 500 sequences of docstring-6l, at the first and the last layer. Solid: equal norms; broken lines: the bands, intervals of the theorem for three values of ε (H − 1), of which the widest has no upper end. At the first layer nearly all tokens lie below the solid line, at the last most.", "name": "fig-zf"}, "image": {"alt": "Two scatter plots. At the first layer points spread along a ray well below the line of equal norms; at the last layer they lie below it, too."}} tags=["hide-input"]
ends = dict.fromkeys((places[0], places[-1]))
titles = {name: f"layer {layers.labels_of([name])[0]}" for name in ends}
norm_figures.plot_norms(norms.points(measured, titles))
plt.show()

# %% [markdown]
# At the first layer nearly all codes are shorter than their activations, two fifths of them by more than the widest band allows. At the last layer most are shorter, by less. In numbers:

# %% tags=["hide-input"]
medians = norm_limits.medians(measured, delta)
note = f"n = {n_all} sequences, one token of each; delta = {delta:g}"
show(
    norms.by_name(medians, ["ratio", "nmse"], labels).rename_axis(
        "layer"
    ),
    "Medians over tokens: how long codes are, and how wrong",
    note=f"{note}, jointly with the next table",
    decimals={"norm ratio": 2, "NMSE": 3},
)

# %% tags=["hide-input"]
show(
    norms.by_name(
        medians, ["eps_lbo", "eps_identity"], labels
    ).rename_axis("layer"),
    "Medians over tokens: what norms say of angles",
    note=note,
    decimals={"published ε × 100,000": 0, "ε from ẑ": 3},
)

# %% [markdown]
# The median code is shorter than its activation, by more than a quarter at the first layer and by a tenth or more at the last. So by (i), as far as errors are small, cosines of atoms that are
# active together are positive on average: they point the same way, as they would if a common direction was written by many of them. As reported elsewhere:

# %% tags=["hide-input"]
welch = "Welch's limit × 100,000"
show(
    norms.reported(),
    "Medians over tokens of 1,000 sequences, as reported",
    note="no limits were reported; Welch's limit: of the size"
    " that fits",
    decimals={"published ε × 100,000": 2, welch: 0, "": 3},
)

# %% [markdown]
# The same picture on two other models, but for the first layer of Gemma-2-2B, where codes are longer than activations. And $\varepsilon_{\mathrm{LBO}}$ lies hundreds to more than ten thousand times below Welch's limit there. *Every*
# decoder with so many atoms has a larger coherence than that. So the number cannot tell a good decoder from a bad one as a statement about its angles; it is the ratio of norms in other units, divided by
# the number of latents.
#
# Welch's limit in this table is ours, and it rests on a guess. The report has no numbers of latents beside these medians. We take those that fit: by the definition of $\varepsilon_{\mathrm{LBO}}$, the ratio of norms and
# $\varepsilon_{\mathrm{LBO}}$ together give $h$, and in the middle rows that is 24,500 and 16,400, close to the common sizes 24,576 and 16,384. The first layer of Gemma-2-2B does not fit them: its two medians, which need not belong to one token, would give 9,344.
# With that number Welch's limit there would be 1,808 instead of 1,931, and the comparison the same.
#
# ## Against the truth
#
# The coherence itself is no secret: it is a maximum over pairs of atoms, computed here exactly, a block at a time.

# %% tags=["hide-input"]
truth = norm_limits.coherences(measured)
show(
    norms.coherences_table(truth, labels).rename_axis("layer"),
    "Largest reading of any token of the sample, and the coherence",
    note=f"n = {n_all} sequences, all tokens; facts, not limits",
    decimals={"published ε": 4, "": 3},
)

# %% tags=["hide-input"]
sound = (truth["eps_identity"] <= truth["with bias"]).all()
vacuous = (truth["eps_lbo"] < truth["Welch"]).all()
bites = (truth["eps_identity"] > truth["Welch"]).all()
said = {True: "yes", False: "no"}
print(f"ε from ẑ of all tokens at most the coherence: {said[sound]}")
print(f"published ε of all tokens below Welch's limit: {said[vacuous]}")
print(f"ε from ẑ of some token above it, every layer: {said[bites]}")

# %% [markdown]
# The bound from $\hat z$ is valid at every token, as it must be, and at some tokens of every layer larger than Welch's limit: there it does say something of *this*
# decoder. It stays far below the truth. A sum over pairs is a weighted mean of cosines, and the coherence is that of the worst pair of all, which
# need not be active at any token.
#
# How many tokens lie outside a band? The mean share over the tokens of a sequence lies between 0 and 1, so it has limits over sequences. The widest band has no upper end: outside of it are tokens below the lowest line of the figure.

# %% tags=["hide-input"]
means = norm_limits.means(measured, delta, inequality)
show(
    norms.by_name(means, norm_limits.SHARES, labels).T.rename_axis(
        ["band", ""]
    ),
    "Mean share of tokens outside each band, by layer",
    note=f"n = {n_all}, delta = {delta:g}; all limits jointly",
)

# %% [markdown]
# At the first four layers nearly all tokens lie outside the narrowest band, 97 % or more with certainty, and at the last one more than half. Outside the widest are two fifths at the first layer, and hardly any at the last two.
#
# ## Do norms say what a splice costs?
#
# Perhaps the model loses more where a code is too short. At each token we measure two costs of splicing in the reconstructions: by how many bits the next token becomes less likely (the *increase in loss*), and by how much the prediction moves (*total variation*).
# Four numbers might rank tokens by these costs: the NMSE, the **deviation of norms** $\lvert \lVert \tilde f \rVert / \lVert z \rVert - 1 \rvert$, $\varepsilon_{\mathrm{LBO}}$ and the bound from $\hat z$.
#
# How well one does is Kendall's $\tau$ of number and cost over the tokens of a sequence: 1 for the same order, -1 for the reverse. It lies in
# $[-1, 1]$, so its mean over sequences has certified limits. Where codes are shorter than activations, $\varepsilon_{\mathrm{LBO}}$ and the deviation of norms rank tokens alike.

# %% tags=["hide-input"]
within = norm_limits.ranks_within(measured, delta, inequality)
note = f"n = {n_all}, delta = {delta:g}; all limits jointly"
show(
    norms.ranks_table(within, "total_variation", labels),
    "Mean of Kendall's tau with total variation, by layer",
    note=note,
)

# %% tags=["hide-input"]
show(
    norms.ranks_table(within, "loss_increase", labels),
    "Mean of Kendall's tau with the increase in loss, by layer",
    note=f"{note}, with the table above",
)

# %% mystnb={"figure": {"caption": "Mean of Kendall's tau over the tokens of a sequence, by layer, n = 500. Bars are limits that hold together at delta = 0.05. The error's size ranks tokens by how far predictions move; the norm of the code does so weakly, and ε from ẑ the wrong way round.", "name": "fig-norm-ranks"}, "image": {"alt": "Line plot of rank correlations with total variation against layer, with that of the normalised error on top, those of the published ε and of the deviation of norms in the middle, and that of ε from ẑ below zero."}} tags=["hide-input"]
figures.plot_layers(norms.rank_panels(within, "total_variation"))
plt.show()

# %% [markdown]
# Within a text the NMSE ranks tokens by how far predictions move, with a mean $\tau$ of 0.25 to 0.35 in the sample. For the norm of the code it is 0.05 to 0.10, and the bound from $\hat z$ has the order the wrong way round. By how much the loss increases none of them ranks well: there $\tau$ is at most 0.09 in the sample.
#
# The same question can be put between tokens of *different* sequences, one of each, and between layers. The first has limits of its own, wider ones: a U-statistic's. The second is about six
# numbers, each known up to its limits, for total variation and for the smoothed loss: what is printed is the smallest and the largest $\tau$ that these leave open.

# %% tags=["hide-input"]
between = norm_limits.ranks_between(measured, delta)
show(
    norms.ranks_table(between, "total_variation", labels),
    "Kendall's tau with total variation over tokens of different texts",
    note=f"n = {n_all} tokens, delta = {delta:g}; all limits jointly",
)

# %% tags=["hide-input"]
by_layer = None
if len(places) > 1:
    losses = study.losses(
        hook_names=places, pools=[], controls=False, alphas=[alpha]
    )
    rises, largest = norms.increases(losses, alpha)
    by_layer = norm_limits.ranks_of_saes(
        measured, rises, largest, delta, inequality
    )
caption = "Kendall's tau of medians with mean costs"
note = f"{len(places)} layers, n = {n_all}, delta = {delta:g}"
note += f", alpha = {alpha:g}; all limits jointly"
None if by_layer is None else show(
    by_layer.rename(index=norms.RANKED), caption, note=note, decimals=2
)

# %% [markdown]
# Between tokens of different texts the sample says what it says within one. There only the NMSE is told to rank the right way, and at the last four layers only.
#
# Of the six layers the error's size gives the right order, and the norms give the reverse: where codes are nearest in length to their activations, at the last layers, a
# splice moves predictions most. Of the smoothed loss the sample says the same, and its limits leave everything open: a loss may change by many bits, and 500 sequences are few for that. With so few layers that is a fact about this subject, in which errors, norms and costs all change with depth.

# %% tags=["hide-input"]
pair = ("nmse", "eps_lbo")
better = norm_limits.better_ranked(
    measured, "total_variation", pair, delta, inequality
)
least = better["lower"].min()
print("NMSE ranks tokens better than the published ε, at every layer,")
print(f"by at least {lower_text(least, 3)} of tau on average")
length = medians["ratio"]
most = length["upper"].max()
print(f"median code: at most {upper_text(most, 3)} times as long")

# %% tags=["hide-input"]
claims(
    strict,
    {
        "no bound exceeds the coherence of atoms and bias": bool(sound),
        "published ε is below Welch's limit at every token": bool(
            vacuous
        ),
        "the bound from ẑ exceeds it at some tokens": bool(bites),
        "the median code is shorter, at every layer": all_below(
            length["lower"], length["upper"], 1.0
        ),
        "NMSE ranks what a splice does better than published ε": (
            all_above(better["lower"], better["upper"])
        ),
    },
)

# %% [markdown]
# ## What this shows, and what it does not
#
# On `docstring-6l`, as reported for GPT-2 Small and for the deeper two layers of Gemma-2-2B, most codes are shorter than activations: atoms that are active together agree more than
# orthogonal ones would. Read as a statement about the decoder, $\varepsilon_{\mathrm{LBO}}$ is below what every decoder of the same size satisfies, here and, as far as sizes can be guessed, in the reported table. The
# bound from $\hat z$, with the active atoms alone, is valid and, at the median token, 61 to 115 times larger. It is still no estimate of the coherence.
#
# As a sign of what a splice will do to a prediction, the norm of a code is a weak one; the size of the error, which is as easily had, is a better one. How much *worse* the prediction of the
# next token gets, neither ranks well: $\tau$ is at most 0.09 in the sample. That does not make
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
# ```{admonition} Answer
# :class: dropdown
#
# None. $\tilde f$ is the code in units of what it writes, so that lengths of rows cancel, and angles do not know of lengths. Only a *selection* that reads latents before they are
# scaled could change.
# ```
