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
# # 00 · A 95 % limit is wrong for about five samples in a hundred, and none of them knows
#
# **Question.** You measure something on 100 documents. What can you say about the thousands that you did not measure? And what does
# "at most, with 95 % confidence" mean?
#
# This page is for readers who have never met a confidence limit. For nearly all of it the losses are made up, so that we know the
# truth and can see when a limit is wrong; one document, at the end, is really run through a model. It runs in seconds.

# %% mystnb={"code_prompt_show": "Parameters of this page", "code_prompt_hide": "Hide the parameters"} tags=["parameters", "hide-input"]
# sequences in a simulated sample
n_seq = 100
# probability that a statement is wrong
delta = 0.05
# simulated samples
draws = 20_000
# of orders and simulations
seed = 0
# the model that reads the document: the shipped one, or a folder
subject = "docstring-6l"
# its SAEs, if not in the model folder
sae = ""
# text on which latents are ranked: a name, a file or a data set
corpus = "docstrings"
# hook point of the SAE; empty: the middle one
hook_name = ""
# share of its latents that are in the pool
share = 0.75
# where the model runs
device = "cpu"
# measure an SAE that fails its check
allow_bad_sae = False
# stop when a claim fails
strict = True

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import binom

from saecert.records import smoothed_support
from saecert.reporting.claims import claims
from saecert.reporting.coloured import coloured
from saecert.reporting.primer import look_each_time, plot_hundred
from saecert.reporting.study import open_study
from saecert.reporting.tables import show
from saecert.statistics.inequalities import (
    clopper_pearson_upper,
    dirichlet_upper,
    hoeffding_upper,
)
from saecert.statistics.rounding import upper_text

# %% [markdown]
# ## A sample is not the truth
#
# Take a long list of documents. In some of them, reading the language model through its sparse autoencoder (SAE) costs more than half
# a bit per token. Call these documents *bad*. We make up a list in which exactly 20 % are bad, and forget for a moment that we know it.
# We draw documents at random, each one independently of the others, and count the bad ones.

# %%
truth = 0.2
rng = np.random.default_rng(seed)
counts = rng.binomial(n_seq, truth, size=100)
k = counts[0]
print(f"first sample: {k} of {n_seq} documents are bad")
print(f"the next five: {', '.join(map(str, counts[1:6]))}")

# %% [markdown]
# Every sample says something else. The count of one sample divided by its size is a good guess, but a guess is not a promise. We want a
# number of which we may say: the true share is *at most* this.
#
# ## The largest share that the count does not rule out
#
# Turn the question round. Suppose that the true share were 0.25, or 0.30. How probable would it be to find so *few* bad documents as the
# first sample did, or fewer?

# %%
for guess in (0.15, 0.20, 0.25, 0.30, 0.35):
    chance = binom.cdf(k, n_seq, guess)
    print(f"share {guess:.2f}: at most {k} bad ones in {chance:.2%}")

# %% [markdown]
# The larger the share, the stranger it would be to find so few. Somewhere the probability falls below 5 %. Shares beyond that point would
# make our sample a rare accident, and we rule them out. The point itself is the **Clopper-Pearson limit** {cite}`clopper1934`:
#
# ````{prf:theorem} Clopper and Pearson
# :label: primer-clopper-pearson
#
# Draw $n$ documents independently, each bad with probability $p$, and let $k$ be the number of bad ones. Let $u$ be the largest
# share for which "at most $k$ of $n$" has probability at least $\delta$. Then $p \le u$, except with probability at most $\delta$.
# ````
#
# ````{prf:proof}
# The limit is wrong only if $p > u$, that is, if "at most $k$ of $n$" has probability below $\delta$ at $p$. The counts of which this is
# true are the smallest ones, up to some $k_0$. By definition the probability of a count up to $k_0$ is below $\delta$.
# ````
#
# In code, $\delta$ is handed over as *nats*, $\ln(1/\delta)$; more on that below.

# %%
nats = np.log(1 / delta)
limit = clopper_pearson_upper(k, n_seq, nats)
again = binom.cdf(k, n_seq, limit)
print(f"found {k / n_seq:.2f}, at most {upper_text(limit, 3)}")
print(f"probability of at most {k}, at the limit: {again:.2%}")

# %% [markdown]
# The second line is the definition, computed backwards: at the limit the probability is just $\delta$.
#
# ## A hundred samples, a hundred limits
#
# Now the same for the other 99 samples. Each is the work of somebody who has only that one sample.

# %%
limits = clopper_pearson_upper(counts, n_seq, nats)
wrong = limits < truth
print(f"limits below the true share: {wrong.sum()} of 100")

# %% mystnb={"figure": {"caption": "A hundred samples of 100 documents from a list of which 20 % are bad (dashed). Each line goes from the share that the sample found (dot) to the limit that it states at delta = 0.05 (bar). Thick lines: the limit lies below the truth.", "name": "fig-hundred"}, "image": {"alt": "A hundred short horizontal lines one below the other. Nearly all of them end to the right of the dashed vertical line of the true share; a few thick ones end to the left of it."}} tags=["hide-input"]
fig = plot_hundred(counts / n_seq, limits, truth)
plt.show()

# %% [markdown]
# Most lines end to the right of the dashed one: their limits are right. The six thick lines end to the left of it, and their limits are wrong.
#
# The samples with a wrong limit did nothing wrong. They had few bad documents by chance, and from inside a sample this cannot be seen: a low count looks the
# same whether it is luck or truth. So the promise is not about one limit. It is about the *procedure*:
#
# > **$\delta$ is the share of samples, at most, for which the statement is wrong.** It is chosen before the sample is drawn.
#
# How many wrong ones are there if we go on? That can be computed, and tried.

# %%
possible = np.arange(n_seq + 1)
below = clopper_pearson_upper(possible, n_seq, nats) < truth
rate = binom.pmf(possible, n_seq, truth)[below].sum()
many = rng.binomial(n_seq, truth, size=draws)
tried = below[many].mean()
print(f"wrong, computed: {rate:.2%} of all samples")
print(f"wrong, in {draws:,} simulated samples: {tried:.2%}")

# %% [markdown]
# A little less than the 5 % that were allowed: a count is a whole number, and the next larger one would already be too much. "Once drawn, the limit holds with 95 % probability"
# would be wrong: once drawn, a limit is right or it is not (its line is thin or thick), and nothing is left to chance.
#
# ## Being more certain is cheap: nats
#
# What does a smaller $\delta$ cost? The natural unit is the **nat**: $\ln(1/\delta)$. Each time $\delta$ is divided by ten, 2.3
# nats are added.

# %% tags=["hide-input"]
deltas = np.array([0.2, 0.05, 0.005, 0.0005])
frame = pd.DataFrame({"delta": deltas, "nats": np.log(1 / deltas)})
frame["limit"] = clopper_pearson_upper(k, n_seq, frame["nats"])
frame["above what was found"] = frame["limit"] - k / n_seq
show(
    frame.set_index(frame["delta"].map("{:g}".format))[
        ["nats", "limit", "above what was found"]
    ],
    "The first sample, at four values of delta",
    note=f"{k} of {n_seq} bad; limits on the share of bad documents",
    decimals=3,
    upper=["limit", "above what was found"],
)

# %% [markdown]
# From the second line to the last $\delta$ is a hundred times smaller, and the distance from what was found only about twice as large. The distance of most limits
# shrinks roughly like $1/\sqrt n$. With the nats it grows, at first faster than their square root, later more and more like it. That is why this book can
# afford small values of $\delta$, and why it counts prices in nats: the prices of several precautions add up.
#
# ## Losses instead of counts
#
# A loss is not bad or good, it is a number of bits. For a limit on its mean we need to know the largest value it can have. Otherwise one
# document in a million with an enormous loss could move the mean as far as it likes, and no sample of 100 would show it. In this
# book the uniform distribution is mixed into every predictor, with weight $\alpha$ (here a half), and this puts a ceiling on the loss.

# %%
lo, hi = smoothed_support(alpha=0.5, n_vocab=4096)
mean = lo + (hi - lo) / 3
losses = lo + (hi - lo) * rng.beta(2, 4, size=(draws // 10, n_seq))
rows = []
for n in (n_seq // 4, n_seq // 2, n_seq):
    first = losses[0, :n]
    row = {"n": n, "sample mean": first.mean()}
    row["Hoeffding"] = hoeffding_upper(first, lo, hi, nats)
    row["Dirichlet"] = dirichlet_upper(first, lo, hi, nats)
    rows.append(row)

# %% tags=["hide-input"]
show(
    pd.DataFrame(rows).set_index("n"),
    "Upper limits on the mean loss from one sample, bits",
    note=f"losses in [{lo:.1f}, {hi:.1f}] bits, true mean {mean:.2f}, "
    f"delta = {delta:g} each",
    upper=["Hoeffding", "Dirichlet"],
)

# %% [markdown]
# Two recipes, the same promise. Hoeffding's limit knows only the ceiling and the sample size {cite}`hoeffding1963`: four times
# the documents, half the distance. The Dirichlet limit looks at how much the losses scatter, and is closer
# {cite}`gaffke2005`. {doc}`The page on the bound <01_bound>` tests five such recipes, and {doc}`the page on coverage <04_coverage>`
# tests them again on measured losses. How often are these two wrong?

# %%
missed = {
    "Hoeffding": hoeffding_upper(losses, lo, hi, nats) < mean,
    "Dirichlet": dirichlet_upper(losses, lo, hi, nats) < mean,
}
for name, which in missed.items():
    print(f"{name}: wrong in {which.mean():.2%} of {len(which):,}")

# %% [markdown]
# Both keep the promise. Hoeffding's is hardly ever wrong: it is further away than it would have to be.
#
# ## Several statements share δ
#
# Somebody makes limits for twenty models, each on a sample of its own and each at $\delta$. How often is at least one of the twenty wrong?

# %%
twenty = rng.binomial(n_seq, truth, size=(draws // 4, 20))
each = clopper_pearson_upper(twenty, n_seq, nats)
shared = clopper_pearson_upper(twenty, n_seq, np.log(20 / delta))
careless = (each < truth).any(axis=1).mean()
careful = (shared < truth).any(axis=1).mean()
print(f"each at delta: some limit wrong in {careless:.1%}")
print(f"each at delta / 20: some limit wrong in {careful:.1%}")

# %% [markdown]
# Twenty chances to be wrong add up. If each of $J$ statements may be wrong with probability $\delta/J$, then all of them are right together except with
# probability $\delta$. It costs $\ln J$ nats, here 3.0. Picking the best of twenty things after looking at all of them costs the same.
#
# ## Looking again and again: Ville
#
# A reader cannot wait. After every single document she makes the limit anew, and stops as soon as it is below 20 %. Let her
# do this on lists of which exactly 20 % are bad, so that she is wrong whenever she stops.
#
# A gambler reads the same documents. He starts with one coin. For each document that is good his wealth grows by 10 %, for
# each bad one it shrinks by 40 %. At a share of 20 % this game is fair: on average his wealth stays where it is. **Ville's
# inequality** {cite}`waudbysmith2024` says that in a fair game wealth *ever* reaches $1/\delta$ coins with probability at most $\delta$, however long it goes on. For
# if it did so more often, stopping there would make a profit on average, and the game would not be fair.

# %%
seen = look_each_time(
    rng, truth, delta, streams=2_000, looks=1_000, stake=0.5
)
at_end = seen.below[:, -1].mean()
ever = seen.below.any(axis=1).mean()
rich = (seen.wealth >= 1 / delta).any(axis=1).mean()
print(f"one look, at the end: wrong in {at_end:.1%}")
print(f"a look after each document: wrong in {ever:.1%}")
print(f"gambler ever at {1 / delta:g} coins: {rich:.1%}")

# %% [markdown]
# (5.1 % of 2,000 simulated lists is 5 % to within the error of the simulation, half a percentage point.) One look at the end keeps the promise. Looking a thousand times and stopping at the first success does not: the reader has made a thousand
# statements and paid for one. The gambler may look as often as he likes. So his wealth is an honest measure of evidence against "the share is at least 20 %", and
# {doc}`the page on convergence <03_convergence>` uses such a game to stop when it knows enough.

# %% [markdown]
# ## One document, token by token
#
# So far a document was one number. Here is what stands behind it. A model $f$ predicts each token of a text and loses so many bits at it. The SAE writes an activation as a weighted sum of a few of its
# *latents*, and a *pool* $A$ is a set of latents that are kept, here three quarters of them. The same model, read through the pool, is another
# predictor, $g_A$, and loses other amounts. The text was written for this page, in the manner of those that the shipped model knows. Write $\ell_f$ and $\ell_{g_A}$ for the two losses at a token. Each token
# is coloured by $\lvert \ell_f - \ell_{g_A} \rvert$, how far they are apart.

# %% tags=["hide-input"]
text = """Compute the mean of the losses along an axis.

Parameters
----------
losses : array_like
    One loss for each document of the sample.
axis : int, optional
    Axis along which the mean is computed. The default is 0.

Returns
-------
mean : float
    The mean loss. If the list that the documents were drawn from
    holds a few rare ones with large losses, a small sample may miss
    all of them.
"""
study = open_study(
    subject,
    sae,
    corpus,
    hook_name,
    n_discovery=400,
    device=device,
    allow_bad_sae=allow_bad_sae,
)
document = study.measure("document", text=text, share=share)
tokens = [str(token) for token in document["token"]]
losses_of_text = (document["model"], document["pool"])
coloured(tokens, *losses_of_text, ("model", "pool"))

# %%
model, pool = (values.mean() for values in losses_of_text)
apart = np.abs(np.subtract(*losses_of_text)).mean()
print(f"model {model:.2f}, pool {pool:.2f} bits per token")
print(f"apart by {apart:.2f} bits at a token, on average")

# %% [markdown]
# At 80 of the 106 tokens the two are within half a bit; at three they are more than two bits apart, and most so at the second half of "few". At 51 tokens the pool is
# even the better of the two, by luck. Such differences partly cancel the others, so the two means are nearer to each other than the losses at a token are.
#
# A certificate has one number for each document, the mean over its tokens, and limits what that number is on average over the documents of a list.

# %%
claims(
    strict,
    {
        "computed: wrong in at most a share delta": rate <= delta,
        "a look after each document breaks the promise": ever > delta,
        "a share of delta each is enough for twenty": careful
        <= delta + 3 * np.sqrt(delta / (draws // 4)),
        "the gambler keeps it": rich
        <= delta + 3 * np.sqrt(delta / 2_000),
    },
)

# %% [markdown]
# ## What this shows, and what it does not
#
# A limit is a promise about a procedure: for at most a share $\delta$ of samples it is wrong, and the sample cannot tell. The price of certainty
# is counted in nats. Losses need a ceiling, several statements share $\delta$, and looking again and again needs a game.
#
# It does *not* show that your documents are drawn at random. Every limit in this book assumes it, and
# {doc}`the assumptions <../book/assumptions>` say for what list. Nor does a limit hold for text from somewhere else. The words of this page stand in the
# {doc}`glossary <../book/glossary>`.
#
# ## Exercise
#
# Run the page with a larger $\delta$:
#
# ```bash
# python -m saecert run 00_primer -p delta=0.2
# ```
#
# Predict first: how many thick lines will there be? Do the limits move to the left or to the right? How many coins must the
# gambler reach? Then compare.
#
# ```{admonition} Answer
# :class: dropdown
# About twenty, a little fewer on average. The limits move to the left, closer to what was found: whoever accepts to be wrong more often may say more. The
# gambler needs only 5 coins, and reaches them in up to a fifth of the streams.
# ```
