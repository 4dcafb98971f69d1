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
# # 01 · One bound on one number certifies the model, its SAE proxy and its concept pool
#
# **Question.** How can one number say something about three predictors at once, the model, its SAE proxy and its concept
# pool? And which of the many inequalities in the textbooks may be trusted to turn a sample mean into it?
#
# This page derives the quantity that the certificate bounds, and tests by simulation five inequalities that could bound it. It
# needs no model. What it simulates is kept under `measurements/`.

# %% mystnb={"code_prompt_show": "Parameters of this page", "code_prompt_hide": "Hide the parameters"} tags=["parameters", "hide-input"]
# sequences in a simulated sample
n_seq = 500
# probability that a statement is wrong
delta = 0.05
# simulated samples of each population
draws = 5_000
# of orders and simulations
seed = 0
# stop when a claim fails
strict = True

# %% tags=["hide-input"]
import matplotlib.pyplot as plt
import numpy as np

from saecert.certificates.terms import joint_loss, one_sided, sharp_loss
from saecert.records import smoothed_support
from saecert.reporting.claims import claims
from saecert.reporting.experiments import misses_made_up
from saecert.reporting.figures import plot_coverage
from saecert.reporting.study import simulated
from saecert.reporting.tables import show
from saecert.reporting.wording import in_words, worded
from saecert.statistics.inequalities import INEQUALITIES
from saecert.statistics.mutants import mutants
from saecert.statistics.rounding import lower_text, upper_text

# %% [markdown]
# ## Losses with a known support
#
# Let $f$ be the frozen model with vocabulary size $V$, $g$ the model with the activation $h$ at one hook point replaced by
# its reconstruction by the SAE, $\operatorname{dec}(\operatorname{enc}(h))$, and $g_A$ the same with every latent outside the *concept pool* $A$ set to zero
# before decoding. One sequence $x$ is one draw from the population. A predictor $q$ gives the token $x_t$ at position $t$ a probability, knowing the
# tokens $x_{<t}$ before it; the uniform distribution over the vocabulary is mixed in with weight $\alpha$. The loss of $x$ is, in bits per token,
#
# $$\ell(q, x) = \operatorname{mean}_t \bigl[-\log_2\bigl((1-\alpha)\, q(x_t \mid x_{<t}) + \alpha / V\bigr)\bigr] \in [\mathrm{lo}, \mathrm{hi}],$$
#
# with $\mathrm{lo} = -\log_2(1-\alpha+\alpha/V)$ and $\mathrm{hi} = \log_2(V/\alpha)$ {cite}`lotfi2024nonvacuous`. The mixing puts a ceiling
# on a loss that otherwise has none. The risk is the mean loss over the population, $R(q) = \mathbb{E}\,\ell(q, x)$.

# %%
lo, hi = smoothed_support(alpha=0.5, n_vocab=50257)
least, most = lower_text(lo, 3), upper_text(hi, 3)
print(f"losses between {least} and {most} bits per token")

# %% [markdown]
# That is GPT-2's vocabulary at $\alpha = 0.5$: no predictor, however bad, loses more than the second number on any sequence.
#
# ## Three risks, one number
#
# ````{prf:theorem} Joint certificate
# :label: joint-certificate
#
# Let the **joint loss** be $v_A(x) = \min\bigl\{\ell(g_A, x) + |\ell(f, x) - \ell(g, x)| + |\ell(g, x) - \ell(g_A, x)|,\ \mathrm{hi}\bigr\}$. Then
# $v_A(x) \in [\mathrm{lo}, \mathrm{hi}]$ and
#
# $$R(f),\ R(g),\ R(g_A)\ \le\ \mathbb{E}\, v_A .$$
#
# So if $x_1, \dots, x_n$ are drawn independently from the population (i.i.d.), and independently of $f$, the SAE and $A$, and $U$ satisfies
# $\Pr\bigl(\mathbb{E} z \le U(z_1, \dots, z_n)\bigr) \ge 1 - \delta$ for i.i.d. values in $[\mathrm{lo}, \mathrm{hi}]$, then with
# probability at least $1-\delta$ all three risks are at most $U(v_A(x_1), \dots, v_A(x_n))$.
# ````
#
# ````{prf:proof}
# Fix $x$ and write $\ell_f, \ell_g, \ell_A$. The triangle inequality gives $\ell_f \le \ell_A + |\ell_g - \ell_A| + |\ell_f - \ell_g|$
# and $\ell_g \le \ell_A + |\ell_g - \ell_A|$, while $\ell_A$ is the first summand. None of the three exceeds $\mathrm{hi}$, so taking
# the minimum with $\mathrm{hi}$ keeps all three inequalities; and $v_A \ge \ell_A \ge \mathrm{lo}$. Take expectations.
# ````
#
# The three summands are **proxy risk**, **SAE reconstruction gap** and **concept-pool mismatch**. The fourth term of the
# certificate, **complexity**, is $U$ minus the mean of $v_A$: what a finite sample, and a pool chosen on it, cost. In code, with
# losses as arrays of length $n$: `joint_loss(clean, full, pooled, hi)`.
#
# ## The same risks, each loss counted once
#
# ````{prf:theorem} Sharp form
# :label: sharp-certificate
#
# Let the **sharp loss** be $s_A(x) = \max\{\ell(f, x), \ell(g, x), \ell(g_A, x)\}$, with $\ell_f, \ell_g, \ell_A$ short for the three and $(y)_+$ for $\max\{y, 0\}$. Then $s_A \in [\mathrm{lo}, \mathrm{hi}]$, $s_A \le v_A$ on every
# sequence, $R(f), R(g), R(g_A) \le \mathbb{E}\, s_A$, and
#
# $$s_A = \ell_A + (\ell_g - \ell_A)_+ + \bigl(\ell_f - \max\{\ell_g, \ell_A\}\bigr)_+ .$$
#
# So with probability at least $1-\delta$ all three risks are at most $U(s_A(x_1), \dots, s_A(x_n))$.
# ````
#
# ````{prf:proof}
# $s_A$ is one of three numbers in $[\mathrm{lo}, \mathrm{hi}]$ and at least each of them; so is $v_A$ at least each of them, hence
# their maximum. For the sum use $y + (x - y)_+ = \max\{x, y\}$, first with $y = \ell_A$ and $x = \ell_g$, then with that maximum for $y$ and
# $x = \ell_f$. Take expectations.
# ````
#
# Nothing has to be clipped, and no smaller number is at least as large as each of the three losses. The terms are the proxy risk again, and
# one-sided forms of mismatch and gap: only where the loss that is left out is the *larger* one is there something to add. The
# papers' form keeps its place, for its gaps say how far apart the losses are; the verdict goes by the sharp one. The two are
# different statements, and each has a $\delta$ of its own. In code: `sharp_loss(clean, full, pooled)` and `one_sided(...)`.
#
# The theorem says i.i.d., as the textbooks do. The library's own samples are something slightly different: a simple random sample,
# *without* replacement, from a finite list of documents. The default inequality is proved for i.i.d. draws;
# without replacement it may miss more often than $\delta$, whatever $\delta$: in everything searched, by at most 0.13 percentage points at $\delta = 0.05$.
# Hoeffding's and Chernoff's are proved for both: {ref}`the assumptions <finite-list>` say what is known for each.
#
# ## The inequality holds draw by draw
#
# On random losses, including many that reach the ceiling, $v_A$ should never be below any of the three.

# %%
rng = np.random.default_rng(seed)
clean, full, pooled = rng.uniform(lo, hi, size=(3, 100_000))
v = joint_loss(clean, full, pooled, hi)
slack = v - np.maximum.reduce([clean, full, pooled])
assert slack.min() > -1e-12 and v.max() <= hi
print(f"clipped: {(v == hi).mean():.0%} of the draws")
print(f"above all three losses: {(slack > 1e-12).mean():.0%}")

# %% [markdown]
# In the remaining draws $v_A$ equals the largest of the three losses, to rounding: there the inequality is tight. The sharp form equals it
# always, and its terms add up:

# %%
s = sharp_loss(clean, full, pooled)
mismatch, gap = one_sided(clean, full, pooled)
assert np.array_equal(s, np.maximum.reduce([clean, full, pooled]))
assert np.allclose(pooled + mismatch + gap, s, atol=1e-12)
assert (s <= v + 1e-12).all()
print(f"mean joint loss {v.mean():.2f} bits, sharp {s.mean():.2f} bits")

# %% [markdown]
# On random losses, which have nothing in common, the difference is large; on those of a real model it is a fraction of a bit
# ({doc}`page 02 <02_four_terms>`).
#
# ## Which inequality may stand for U
#
# Five candidates, each `<name>_upper(x, lo, hi, nats)` with $\mathrm{nats} = \ln(1/\delta)$: Hoeffding's {cite}`hoeffding1963`,
# empirical Bernstein {cite}`maurer2009`, Chernoff's in its kl form {cite}`langford2005`, the betting bound
# {cite}`waudbysmith2024`, and the default, the Dirichlet bound {cite}`gaffke2005`. That the last is valid for bounded i.i.d. values
# was proved only in July 2026 {cite}`vlassis2026,ming2026`. Whoever prefers an elementary proof takes `betting`.
#
# A bound is tested on populations on $[0, 1]$ whose mean is known and which punish a wrong one:
#
# * **Bernoulli(0.1)** and **Bernoulli(0.5)**, coins, and **beta(0.1, 0.5)**, with most of its mass at both ends;
# * **noise + point mass**, values between 0.1 and 0.5 and, seldom, 1: a sample has no 1 at all with probability $1.02\,\delta$;
# * **two points**, 0.3 and, seldom, 1: a sample has no 1 at all with probability $3\delta$.
#
# A **miss** is a bound below the mean of the very values it was computed from.

# %%
settings = {"pools": "T1: fixed", "n": n_seq, "delta": delta}
settings |= {"draws": draws, "values": None, "seed": seed}
cells = [{"method": name} for name in ("", *mutants())]
frame = simulated("bounds", settings, misses_made_up, cells=cells)
wrong = frame["inequality"].isin(list(mutants()))
tested, mutated = frame[~wrong], frame[wrong]


# %% tags=["hide-input"]
def percent(rows):
    """Miss rates in percent, one line a method."""
    axes = {"index": "inequality", "columns": "population"}
    values = {"values": "miss_rate", "sort": False}
    return in_words(rows.pivot_table(**axes, **values).mul(100))


note = f"n = {n_seq}, delta = {delta:g}, {draws:,} samples a population"
caption = "Misses in percent of the samples, the five inequalities"
show(percent(tested), caption, note=note)

# %% [markdown]
# Where are the most misses, and how far may the simulation be off?

# %% tags=["hide-input"]
worst = tested.loc[tested["miss_rate"].idxmax()]
name = worded(worst["inequality"])
print(f"most misses: {name} on {worst['population']}")
low, high = 100 * worst["ci_low"], 100 * worst["ci_high"]
limits = f"99 % limits {lower_text(low)} and {upper_text(high)} %"
print(f"{100 * worst['miss_rate']:.2f} %, {limits}")

# %% [markdown]
# The largest rate of the table, with its limits: they reach down to the nominal rate or below it, so nothing here contradicts the
# promise. A rate of 0.00 is no flaw either. On "two points" it is all that a valid bound can have: its samples without a 1 are all
# alike, so that a bound that misses on one of them misses on all, a share of $3\delta$. Elsewhere it belongs to a bound that is wider than it needs to be.
#
# ## Would the test notice?
#
# Beside the five stand *mutants*, bounds that are wrong on purpose: a test that cannot reject those proves nothing.

# %% tags=["hide-input"]
caption = "Misses in percent of the samples, the mutants"
show(percent(mutated), caption, note=note)

# %% [markdown]
# Each mutant has at least one population on which it misses more than twice as often as promised, and no single population catches
# all of them.

# %% mystnb={"figure": {"caption": "Misses in percent of simulated samples, with 99 % limits, for populations with known mean. Left: no inequality misses more often than the nominal rate (dashed) beyond the error of the simulation. Right: bounds that are wrong on purpose, by the same test; another scale.", "name": "fig-coverage"}, "image": {"alt": "Two dot plots of miss rates by population. On the left the limits of all five inequalities reach down to or below the dashed nominal line. On the right each mutant lies far above it for some population."}} tags=["hide-input"]
panels = {"five inequalities": tested, "mutants": mutated}
plot_coverage(panels, narrow=["five inequalities"])
plt.show()

# %% [markdown]
# Left, the bars of all five inequalities reach down to the dashed line or end below it. Right, every mutant has a population on which
# its bar begins beyond it.

# %%
rejected = mutated[mutated["verdict"] == "rejected"]["inequality"]
caught = rejected.nunique()
print(f"mutants rejected: {caught} of {len(mutants())}")
print(f"inequalities tested: {len(INEQUALITIES)}")
passed = (tested["verdict"] == "valid").all()
claims(
    strict,
    {
        "no inequality is rejected": passed,
        "every mutant is rejected": caught == len(mutants()),
    },
)

# %% [markdown]
# ## What this shows, and what it does not
#
# On populations made to break it, none of the five inequalities misses more often than promised beyond the error of the simulation,
# and each mutant is caught by the same test. The test is not sharper than its number of draws: a bound that misses a little more
# often than promised would pass. Dirichlet and betting bounds spend most of their $\delta$ where the others leave it unused.
#
# It does *not* show that real sequences are independent draws: that is an assumption about how documents are sampled, and
# {doc}`the assumptions <../book/assumptions>` say what breaks without it.
#
# ## Exercise
#
# Run the page at another $\delta$:
#
# ```bash
# python -m saecert run 01_bound -p delta=0.01
# ```
#
# Predict first: which of the mutants' rates shrink with $\delta$? One of them, on the population with two points, hardly does: why? (How
# many samples hold the rare value exactly once, and what does the spread of such a sample say?) Compare the tables of this page with
# yours, line by line. It simulates anew, for some minutes.
#
# ```{admonition} Answer
# :class: dropdown
# "Delta five times too large" falls to a fifth or so, 22.02 to 5.08 % on fair coins; "half width"
# from 11.62 to 7.24 and "variance term deleted" from 22.02 to 13.30 there. The normal approximation
# on two points only falls from 14.44 to 12.48 %: samples without a 1 are fewer now, a share of
# $3\delta$ or 3 %, but those with exactly one, a share of $3\delta\ln(1/(3\delta))$ or 10.5 %, are
# missed now, too: their mean plus 2.33 standard errors is $0.3 + 2.33/n$, the truth $0.3 + 2.45/n$.
# ```
