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
# # 03 · A handful of sequences makes a certificate non-vacuous; what choosing on the sample costs depends on which set one pays for
#
# **Question.** How many sequences does a certificate need before it says anything? And what does it cost to look at the sample
# before choosing the pool, or to stop when one is satisfied?
#
# The page computes the bound against the number of certification sequences for several ways of choosing the concept pool and at two
# smoothing weights, and a certificate that reads sequences one by one and stops by itself. What it measures is kept under
# `measurements/`.

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
n_seq = 0
# discovery sequences; 0: all
n_discovery = 0
# probability that a statement is wrong
delta = 0.05
# concentration inequality
inequality = "dirichlet"
# largest mean mismatch on discovery, bits
tolerance = 0.1
# random orders of the stream
orders = 200
# of orders and simulations
seed = 0
# where the model runs
device = "cpu"
# measure an SAE that fails its check
allow_bad_sae = False
# stop when a claim fails
strict = True

# %% tags=["hide-input"]
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from saecert import certify_stream
from saecert.certificates import orders as streams
from saecert.reporting import choosing, sliders
from saecert.reporting.claims import claims
from saecert.reporting.figures import (
    plot_price_of_choosing,
    plot_wealth,
)
from saecert.reporting.study import open_study, wrapped
from saecert.reporting.tables import show
from saecert.reporting.wording import worded
from saecert.statistics.priors import uniform_prior_nats

# %% [markdown]
# ## Three ways of choosing the pool
#
# Let $U(z; L)$ be an upper bound on $\mathbb{E} z$ that fails with probability at most $e^{-L}$.
#
# ````{prf:theorem} Price of choosing
# :label: price-of-choosing
#
# * **T1, fixed pool.** If $A$ was fixed before the sample was seen, $R(f) \le U(v_A; \ln\frac1\delta)$ with probability $1-\delta$.
# * **T2, nested pools.** For pools $A_1 \subset \dots \subset A_K$ ranked beforehand, with probability $1-\delta$ for all of them at
#   once, $R(f) \le U(v_{A_k}; \ln\frac1\delta + \ln K)$.
# * **T3, pool from the sample.** Let $m$ be the number of latents, and $\pi$ a probability distribution over their $2^m$ subsets, fixed beforehand. With
#   probability $1-\delta$ for all $A$ at once, hence for one read off the sample, $R(f) \le U(v_A; \ln\frac1\delta + \ln\frac1{\pi(A)})$.
# ````
#
# ````{prf:proof}
# T1 is {prf:ref}`joint-certificate`. For T3 spend $\delta\,\pi(A)$ on subset $A$: the bound fails for some $A$ with probability at most
# $\sum_A \delta\,\pi(A) = \delta$. T2 is the case in which $\pi$ puts $1/K$ on each nested pool.
# ````
#
# The papers {cite}`bandyopadhyay2026sparse,ssd2026` take for $A$ every latent that was active anywhere on the sample, the *exact active set*, and
# for $\pi$ a uniform distribution over sizes and over the subsets of a size: $\ln\frac1{\pi(A)} = \ln\binom{m}{|A|} + \ln(m+1)$, the
# **sparse complexity**. That can be hundreds of nats. A certificate may pay for another set instead.
#
# ````{prf:corollary} The cheapest superset
# :label: cheapest-superset
#
# Let $v_{\mathrm{full}}$ be $v_A$ with the whole dictionary for $A$. With probability $1-\delta$,
#
# $$\begin{aligned} R(f) \le U\Bigl(&v_{\mathrm{full}};\\ &\ln\tfrac1\delta + \min_{A'} \ln\tfrac1{\pi(A')}\Bigr), \end{aligned}$$
#
# the minimum being over all $A'$ that contain every latent active on the sample.
# ````
#
# ````{prf:proof}
# Leaving a silent latent out of the pool, or in, changes no reconstruction on the sample, so $v_{A'} = v_{\mathrm{full}}$ on each of its
# sequences for every such $A'$. The theorem holds for all $A$ at once, hence for the cheapest of them.
# ````
#
# With the uniform prior that is mostly the whole dictionary, at $\ln(m+1)$ nats. A *product prior*, built from firing counts on
# discovery, gives each latent a probability $\pi_j$ of being in the set, and adds a silent latent where $\pi_j > \frac12$.
#
# The cost of a subset is a log-probability, so the weights of all subsets sum to one. For six latents, by enumeration:

# %%
subsets = product([False, True], repeat=6)
nats = [uniform_prior_nats(sum(subset), 6) for subset in subsets]
total = np.exp(-np.array(nats)).sum()
print(f"weights of all {len(nats)} subsets: {total:.3f}")
assert np.isclose(total, 1.0)

# %% [markdown]
# ## The run

# %%
study = open_study(
    subject,
    sae,
    corpus,
    hook_name,
    n_seq,
    n_discovery,
    device,
    allow_bad_sae,
)
losses = study.losses(controls=False)
print(study)

# %% [markdown]
# A curve is a row of certificates on the first $n$ of these sequences, for each $n$ and both smoothing weights $\alpha$. The
# ways of choosing, as arguments of `certify`:

# %%
T1, T2 = "T1: fixed pool", "T2: nested pools"
PRODUCT = "T3: cheapest superset, product prior"
UNIFORM = "T3: cheapest superset, uniform prior"
from_sample = {"method": "in_sample"}
ways = {
    T1: {"tolerance": tolerance},
    T2: {"method": "nested"},
    PRODUCT: from_sample | {"prior": "product"},
    UNIFORM: from_sample | {"prior": "uniform"},
}

# %%
sizes = choosing.sizes_up_to(len(losses))
settings = {"delta": delta, "inequality": inequality}
frame = choosing.certified_bounds(losses, sizes, ways, **settings)

# %% [markdown]
# Beside them stands the exact active set with the uniform prior: once with the same inequality, and once with Hoeffding's, the form
# of the papers.

# %%
EXACT = "T3: exact active set, uniform prior"
PAPERS = "T3: exact active set, Hoeffding as in the papers"
exact_ways = {EXACT: inequality, PAPERS: "hoeffding"}
exact = choosing.exact_bounds(losses, sizes, exact_ways, delta)

# %% [markdown]
# Last the formula that the predecessor of the paper prints {cite}`ssd2026`. Its pool size is the mean number of active latents per
# token, its sample size the number of *tokens*. It is shown for comparison and is **not** a certificate: its terms are estimated
# from the tokens on which $\delta$ is spent once, and tokens of one document depend on one another.

# %%
printed = choosing.printed_bounds(losses, sizes, delta)
frame = pd.concat([frame, exact, printed], ignore_index=True)

# %% [markdown]
# ## What each way of choosing pays
#
# The price of the choice in nats, beside the $\ln\frac1\delta$ that everybody pays, and the number $k$ of latents that are paid for:

# %% tags=["hide-input"]
alpha, low_alpha = losses.alphas[0], losses.alphas[-1]
few = [n for n in (10, 100, 1000) if n < len(losses)]
few.append(len(losses))
paid = frame[~frame["label"].isin([PAPERS, choosing.PRINTED])]
prices = choosing.by_size(paid, alpha, few, ["nats", "k"])
m = f"k of {losses.d_sae:,} latents"
note = f"delta = {delta:g}, alpha = {alpha:g}; {m}"
caption = "Selection cost in nats and pool size"
show(prices, caption, note=note, decimals=1, significant=())

# %% [markdown]
# A fixed pool costs nothing, and the best of $K$ nested ones $\ln K$. On few sequences the exact active set with the uniform prior costs
# hundreds of nats; its cheapest superset is, with that prior, the whole dictionary, at $\ln(m+1)$ nats whatever the sample. Where
# every latent has been active somewhere, the exact set *is* the whole dictionary. The product prior is the dearer one on few sequences
# and the cheaper one on many.
#
# ## The bounds


# %% tags=["hide-input"]
def bounds_table(alpha):
    """Bound and k by way and number of sequences."""
    table = choosing.by_size(frame, alpha, few, ["bound", "k"])
    note = f"each at delta = {delta:g}, on its own; alpha = {alpha:g}"
    caption = f"Bounds in bits per token; {m}"
    note += f"; {worded(inequality)} where no other is named"
    return show(table, caption, note=note)


bounds_table(alpha)

# %% [markdown]
# At this $\alpha$ and with enough sequences, T2, and T3 with the default inequality, end *below* T1, although they pay. Compare
# the $k$ beside the bounds: a lower bound here is another pool, not a cheaper rule. (On other pages the same SAE has other bounds
# yet: {ref}`one SAE, eight bounds <one-sae-eight-bounds>`.)

# %% tags=["hide-input"]
valid = frame[frame["label"] != choosing.PRINTED]
sharp = choosing.by_size(valid, alpha, few, ["sharp"])
note = f"each at delta = {delta:g}, on its own; alpha = {alpha:g}"
note += "; k as in the table above"
show(sharp, "The same pools, sharp bounds", note=note)

# %% [markdown]
# No number is higher than above, and all but those at the ceiling are lower: the *sharp* bounds count each loss once ({prf:ref}`sharp-certificate`). T2 and T3 stay as far apart as they were; T1 comes closer to them, as its mismatch is no longer counted twice. All of this page's theorems hold with $s_A$ for $v_A$.
#
# T2 need not give every size the same weight. With 0.9 on the size that discovery chose, that one costs 0.105 nats, and the others
# $\ln 40$ where there are five:

# %% tags=["hide-input"]
whole = min(1000, len(losses))
own = {"tolerance": tolerance, "n_seq": whole, "alpha": alpha}
curves = choosing.weighted_curves(losses, **settings, **own)
note = f"n = {whole}, delta = {delta:g}, alpha = {alpha:g}"
caption = "T2 by weights: sharp bounds, each pair of columns jointly"
show(curves, caption, note=note)

# %% [markdown]
# Whoever wants the whole curve, and the pool chosen beforehand at nearly the price of T1, takes the weights from discovery. Whoever wants
# the lowest bound of the grid, whichever it is, takes equal ones, the default: on the shipped subject the whole dictionary has it.

# %% tags=["hide-input"]
bounds_table(low_alpha)

# %% [markdown]
# A smaller $\alpha$ mixes in less of the uniform distribution but has a wider support: more sequences are needed at first, and
# the bound ends lower. Bounds at different $\alpha$ are about different predictors and may not be subtracted from one another. At
# this $\alpha$ the rule keeps the whole dictionary, so no other way is below T1; the product prior meets it once it costs nothing.

# %% mystnb={"figure": {"caption": "Bound against number of certification sequences at two smoothing weights, each point on its own at delta; delta and k are those of the tables. A pool fixed on discovery, the best of a nested few, or the whole dictionary (the cheapest superset under a uniform prior) beat the uniform predictor (dashed) on few sequences; the exact active set needs at least ten times as many as the fixed pool. Grey, dashed: the formula as printed by the paper's predecessor, which is not a valid certificate.", "name": "fig-convergence"}, "image": {"alt": "Two line plots of bound against number of sequences on a logarithmic axis, for alpha 0.5 and 0.01. The lines of fixed pools, nested pools and the cheapest superset under the uniform prior fall below the dashed vacuous line first, those of the exact active set much later."}} tags=["hide-input"]
vacuous = np.log2(losses.n_vocab)
plot_price_of_choosing(frame, vacuous)
plt.show()

# %% [markdown]
# At the right end all valid lines lie within 0.6 bits of one another; on few sequences the way of choosing decides. A fixed pool is below
# the dashed line with 3 or 5 sequences, the exact active set stays at the ceiling until tens of them were read.
# The grey line is no certificate.

# %% tags=["hide-input"]
fixed = frame[(frame["label"] == T1) & (frame["alpha"] == alpha)]
sliders.bound_sliders(
    losses,
    sizes,
    delta=delta,
    pool=int(fixed["k"].iloc[-1]),
    inequality=inequality,
)

# %% [markdown]
# In a browser there are sliders above, for fixed pools (T1): for $n$, $\delta$, $\alpha$ and the size $k$ of the pool. They say what a certificate *would*
# have been, had these settings been fixed beforehand. On the shipped subject a pool of 192 latents costs more than two bits, however many
# sequences there are. From 500 sequences on, $\delta$ = 0.001 in the place of 0.2 costs less than 0.2 bits.
#
# The next table has the first size on the axis at which each way beats the uniform predictor. Every point of a curve is a certificate valid at
# $\delta$ for a size fixed beforehand; the curve as a whole, and the smallest $n$ read off it, are not.

# %%
note = f"each at delta = {delta:g}, on its own"
note += f"; {worded(inequality)} where no other is named"
first = choosing.first_below(frame, vacuous)
first.columns = [f"alpha = {alpha:g}" for alpha in first.columns]
show(
    first.rename_axis("pool"), "Sequences to be non-vacuous", note=note
)

# %% [markdown]
# On this grid of sizes, paying for the whole dictionary takes a few times as many sequences as a fixed pool, the exact active set
# at least ten times as many, in the papers' form and with the narrower inequality alike.
#
# ## A certificate that stops when it knows
#
# Whoever looks after each sequence and stops at the first success makes a statement about every $n$ at once.
#
# ````{prf:theorem} Stopping
# :label: stopping-when-certain
#
# Let $z_i \in [0, 1]$ and let $\lambda_i \in [0, 1/\mu_0]$ depend on $z_1, \dots, z_{i-1}$ only. If
# $\mathbb{E}[z_i \mid z_1, \dots, z_{i-1}] \le \mu_0$, the wealth $W_n = \prod_{i \le n} (1 + \lambda_i (z_i - \mu_0))$ ever reaches
# $1/\delta$ with probability at most $\delta$. So does an average of such wealths.
# ````
#
# ````{prf:proof}
# No factor is negative, and each has mean at most 1 given the past: $W_n$ is a nonnegative supermartingale that starts at 1, and so is
# an average. The rest is Ville's inequality {cite}`waudbysmith2024`.
# ````
#
# For $y = s_A - \ell_{\text{bigram}}$ ({prf:ref}`sharp-certificate`), with $\mathrm{lo}'$ and $\mathrm{hi}'$ its smallest and largest value, take
# $z = (\mathrm{hi}' - y)/(\mathrm{hi}' - \mathrm{lo}')$ and $\mu_0 = \mathrm{hi}'/(\mathrm{hi}' - \mathrm{lo}')$. The wealth grows if
# model and proxies beat the bigram predictor, and reaching $1/\delta$ certifies it at whatever $n$ that happens. The stakes are
# constant fractions of $1/\mu_0$, eight of them, averaged; they were chosen on synthetic populations and on the discovery split.
# Sequences arrive fifty at a time.

# %%
goal = {"target": "bigram", "delta": delta, "alpha": alpha}
goal |= {"tolerance": tolerance}
starts = range(0, len(losses) - 1, 50)
rows = np.arange(len(losses))
parts = (losses.take(rows[start : start + 50]) for start in starts)
recorded = certify_stream(parts, **goal)
print(wrapped(str(recorded)))
print(f"alpha = {alpha:g}, pool of {recorded.k} latents")

# %% [markdown]
# That is the recorded order, and what a user would see. How much of it is luck? The same sequences in other orders (orders of one
# sample, not fresh samples):

# %% tags=["hide-input"]
cells = [{"order": order} for order in range(orders + 1)]
build = streams.stream_in_order
shuffled = goal | {"seed": seed}
options = {"cells": cells, "losses": losses}
wealth = study.simulated("wealth", shuffled, build, **options)
read = streams.stops(wealth, delta)
ended = np.isfinite(read)
print(f"certain in {ended.sum()} of {orders} random orders")
if ended.all():
    print(f"after {read.mean():.0f} sequences on average")

# %%
known = streams.size_known_beforehand(losses, orders=orders, **shuffled)
if known is None:
    print(f"no size up to {len(losses)} does in half of them")
else:
    print(f"a size fixed beforehand: {known} in half of them")

# %% [markdown]
# The last number is what a bet of the same kind needs whose sample size was known beforehand to be just enough. Not knowing it costs
# hardly anything.

# %% mystnb={"figure": {"caption": "Wealth of the bets that model and proxies beat the bigram predictor, sequence by sequence (the fixed pool; alpha, k and the number of orders are printed above), in the recorded order (blue) and in random orders of the same sequences (grey). A stream ends once its wealth reaches 1/delta (dashed).", "name": "fig-wealth"}, "image": {"alt": "Wealth on a logarithmic scale against sequences read. All paths climb in a narrow band and end at the dashed line at 1/delta."}} tags=["hide-input"]
plot_wealth(wealth, delta)
plt.show()

# %% [markdown]
# On a logarithmic axis all orders climb in a narrow band, and so does the recorded one: when a stream stops is decided by how far the
# losses are below those of the bigram, much less by the luck of the order.
#
# ## The claims

# %% tags=["hide-input"]
first = choosing.first_below(frame, vacuous)
soon = (first.loc[T1] <= 10).fillna(False).all()
largest = len(losses)
ten = choosing.times_as_many(first, PAPERS, T1, 10, largest)
bounds = frame.pivot(
    index=["alpha", "n_seq"], columns="label", values="bound"
)
cheaper = (bounds[UNIFORM] <= bounds[EXACT] + 1e-12).all()
brief = "a stream or a fixed size was not certain"
if ended.all() and known is not None:
    brief = bool(read.mean() <= 1.5 * known)
never_worse = "the cheapest superset is never worse than the exact set"
claims(
    strict,
    {
        "a fixed pool beats uniform within 10 sequences": soon,
        "the exact active set needs 10 times as many": ten,
        never_worse: cheaper,
        "the stream stops within 1.5 times the fixed size": brief,
    },
)

# %% [markdown]
# ## What this shows, and what it does not
#
# A pool fixed on other text costs nothing, and a handful of sequences is enough for a bound below the uniform predictor. A pool
# that is read off the sample costs hundreds of nats if one pays for exactly the active set, as the papers do, and then takes at
# least ten times as many sequences; paying for the cheapest superset with the uniform prior it costs a few nats, and a few times
# as many. Once every latent has been active, the two sets are the same. Only T3 may choose *any* subset after looking. A stream that may
# stop at any time reads about as many sequences as a sample whose size was somehow known to be just enough.
#
# It does *not* show that few sequences make a *good* certificate: non-vacuous means better than guessing. And the orders of the
# stream shuffle one sample: they say what the order does, not what another sample would.
#
# ## Exercise
#
# Ask for more certainty:
#
# ```bash
# python -m saecert run 03_convergence -p delta=0.001
# ```
#
# Predict first how many more sequences the stream reads ($\ln 1000 / \ln 20$ is 2.3), and whether the curves at the left end of the
# figure move more or less than those at the right. Compare with the sentences under the stream, and with the two tables of bounds.
#
# ```{admonition} Answer
# :class: dropdown
# Twice as many: 52 in the recorded order where it was 26. It is a little less than 2.3 times, since
# the wealth is spread over gamblers who stake a constant fraction each, and those who stake best
# come to own most of it, so that it grows faster the longer it runs. The left end moves far more:
# at $\alpha = 0.5$ the fixed pool goes from 7.43 to 9.23 bits on 10 sequences, from 5.58 to 5.87 on
# 100, and from 5.36 to 5.38 on all 4,931. What $\delta$ costs shrinks like one
# over $n$ or over its square root, and at the right end little more than the losses is left.
# ```
