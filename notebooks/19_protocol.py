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

# %% [markdown]
# # 19 · How an SAE is used when it is measured moves the certificate: DRAFT
#
# **Question.** The paper finds the early layers of Llama-3-8B impossible to certify. Is that a fact about the model, or about how its SAEs were
# run: with 64 active latents where they were trained with 192, with the activation of BOS replaced like any other, on 32 tokens?
#
# Llama-3-8B cannot be run here. So each of the three choices is made on another model, SmolLM2-135M, with SAEs at four depths: alone, and
# together. What comes out is a *hypothesis* about the paper's figures, tested on something else.

# %% tags=["parameters"]
# the shipped one, one of the paper's, or a model folder
subject = "smollm2-135m"
# its SAEs, if not in the model folder
sae = ""
# text: a name, a file or a hub data set
corpus = "docstrings-fresh"
# hook points, separated by commas; empty: all that have an SAE
hooks = ""
# certification sequences; 0: all
n_seq = 48
# discovery sequences; 0: all
n_discovery = 300
# active latents of a token, where few are asked for
few = 11
# tokens of a sequence, where short ones are asked for
short = 32
# bits per token up to which a gap or a divergence counts
cap = 2.0
# probability that a statement is wrong
delta = 0.05
# weight of the uniform distribution
alpha = 0.5
# concentration inequality
inequality = "dirichlet"
# pool size, share of the dictionary
pool_share = 0.75
# where the model runs
device = "cpu"
# measure an SAE that fails its check
allow_bad_sae = False
# stop when a claim fails
strict = True

# %% tags=["hide-input"]
import matplotlib.pyplot as plt

from saecert.reporting import figures, layers, protocol
from saecert.reporting.claims import claims
from saecert.reporting.study import open_study
from saecert.reporting.tables import show
from saecert.statistics.rounding import lower_text, upper_text

# %% [markdown]
# ## Three choices that nobody writes down
#
# 1. **Active latents.** A TopK SAE trained with 192 active latents can be run with 64: the largest ones stay. Here the SAEs were trained to have 32
#    active latents on average; *few* keeps the 11 largest of each token, about a third.
# 2. **BOS.** The first position holds an activation many times larger than any other, which later positions attend to. An SAE that never saw it
#    cannot reconstruct it. *BOS* replaces it all the same; everywhere else in this book it keeps its own.
# 3. **Length.** *Short* looks at the first 32 tokens of the same documents. The activations there are the very same; only the average is
#    over fewer positions, those with less context.
#
# With all three at once, an SAE is measured here as it would have been in the paper's study of layers.

# %%
source = (subject, sae, corpus, hooks or "all")
options = (n_seq, n_discovery, device, allow_bad_sae)
study = open_study(*source, *options)
places = layers.by_depth(study.hook_names)
k = layers.common_pool(study, places, pool_share)
studies = protocol.studies_of(study, short)
losses = protocol.losses_of(studies, places, few, k, alpha)
print(study)

# %% [markdown]
# ## The terms under each protocol
#
# $\mathrm{KL}(f \,\|\, g)$ is that of the smoothed predictions of the whole SAE, averaged over positions ({doc}`tails <08_tails>`).

# %%
divergences = protocol.divergences_of(studies, places, few, alpha)
n = len(divergences[places[0]][protocol.USUAL])

# %% tags=["hide-input"]
note = f"n = {n}, alpha = {alpha:g}, k = {k:,}; sample means"
table = protocol.means(losses, divergences)
show(table, "Terms by layer and protocol, bits per token", note=note)

# %% [markdown]
# ## What each choice changes
#
# The difference from the first row of each layer, paired by document. Gap and divergence of a sequence count up to `cap` bits: so a limit
# need not allow for a document on which everything goes wrong. All limits on this page hold together at $\delta$.

# %%
settings = {"alpha": alpha, "delta": delta, "inequality": inequality}
moved = protocol.changes(losses, divergences, **settings)

# %% tags=["hide-input"]
note = f"n = {n}, alpha = {alpha:g}, delta = {delta:g} jointly"
note += f"; counted up to {cap:g} bits"
for quantity in (protocol.GAP, protocol.DIVERGENCE):
    shown = protocol.shown_changes(moved, quantity)
    caption = f"Change of the {quantity}, bits per token, by layer"
    show(shown, caption, note=note)

# %% mystnb={"figure": {"caption": "Change of the reconstruction gap (left) and of the divergence of predictions (right) from the protocol that the SAEs were trained for, by layer; bars are limits, all jointly.", "name": "fig-protocol"}, "image": {"alt": "Two panels of changes against layer, a line for each protocol."}} tags=["hide-input"]
figures.plot_layers(protocol.panels(moved), [])
plt.show()
