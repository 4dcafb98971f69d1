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
# # 14 · At one guaranteed rate of false alarms, counting active latents misses the Python source that the SAE's error gives away
#
# **Question.** Does an SAE betray strange text by activating too many latents? And can one have an alarm whose rate of
# false alarms is guaranteed rather than tuned by eye?
#
# On text unlike its training data an SAE is said to activate more latents than usual. This page turns that *feature
# explosion* into a monitor, and holds it against three rivals on the same sequences, with and without the BOS token.
# What it measures is kept under `measurements/`.

# %% mystnb={"code_prompt_show": "Parameters of this page", "code_prompt_hide": "Hide the parameters"} tags=["parameters", "hide-input"]
# the shipped one, one of the paper's, or a model folder
subject = "docstring-6l"
# its SAEs, if not in the model folder
sae = ""
# text on which an alarm is false: a name, a file or a hub data set
corpus = "docstrings"
# text of another kind
shifted = "python-source"
# hook point of the SAE; empty: the middle one
hook_name = ""
# sequences of each kind of text, and for calibration; 0: all
n_seq = 200
# probability that a statement is wrong
delta = 0.05
# rate of false alarms that must not be exceeded
level = 0.05
# of simulations
seed = 0
# where the model runs
device = "cpu"
# measure an SAE that fails its check
allow_bad_sae = False
# stop when a claim fails
strict = True

# %% tags=["hide-input"]
import math

import numpy as np
import pandas as pd
from scipy import stats

from saecert.dictionaries import alarms
from saecert.dictionaries.monitor import (
    conformal_threshold,
    count_scores,
    trained_threshold,
)
from saecert.reporting import figures
from saecert.reporting.claims import claims, decided
from saecert.reporting.study import open_study
from saecert.reporting.tables import show
from saecert.statistics.rounding import lower_text, upper_text

# %% [markdown]
# ## A threshold that needs no eye
#
# The paper's predecessor proposes a round number of active latents as an alarm {cite}`ssd2026`; how often text of the
# usual kind would raise it is not said. Split-conformal prediction {cite}`lei2018` sets the number by a promise about
# just that, which holds *on average over calibrations*: one calibration may be somewhat unlucky.
#
# ````{prf:theorem} Rate of false alarms
# :label: conformal-monitor
#
# Let $S_1, \dots, S_n, S$ be exchangeable scores, $n_\beta = \lceil (n+1)(1-\beta) \rceil \le n$, and $\hat S$ the
# $n_\beta$-th smallest of the first $n$. Then $\Pr(S > \hat S) \le \beta$. If moreover they are i.i.d. without ties, the
# rate of false alarms of one calibration, $\Pr(S > \hat S \mid S_1, \dots, S_n)$, is distributed as
# $\mathrm{Beta}(n + 1 - n_\beta,\, n_\beta)$.
# ````
#
# ````{prf:proof}
# $S > \hat S$ only if at least $n_\beta$ of the other scores are smaller, that is if $S$ has a rank above $n_\beta$ among
# all $n + 1$. Every rank is equally likely, with ties broken at random, so the probability is at most
# $(n + 1 - n_\beta)/(n + 1) \le \beta$. Without ties the distribution function of the scores makes them uniform on
# $[0, 1]$, and the rate of false alarms is one minus the $n_\beta$-th smallest of $n$ uniforms.
# ````
#
# One calibration may be unlucky, and one has only one. The rate of false alarms of *this* calibration can be bounded as well,
# at the price of a higher threshold.
#
# ````{prf:theorem} Rate of false alarms, of the calibration that one has
# :label: trained-monitor
#
# Let $S_1, \dots, S_n, S$ be i.i.d., $k$ the largest number with $\Pr(\mathrm{Bin}(n, \beta) < k) \le \delta$, $k \ge 1$, and $\hat S$
# the $k$-th largest of the first $n$. Then $\Pr(S > \hat S \mid S_1, \dots, S_n) \le \beta$, except with probability $\delta$ over
# calibrations.
# ````
#
# ````{prf:proof}
# Let $q$ be the smallest value that a score exceeds with probability at most $\beta$. The rate of false alarms is above
# $\beta$ only if $\hat S < q$, and then fewer than $k$ of the $n$ scores are at least $q$. Each of them is with probability at least $\beta$,
# so this has probability at most $\Pr(\mathrm{Bin}(n, \beta) < k) \le \delta$, the tail of Clopper and Pearson {cite}`clopper1934`.
# ````
#
# The score may be anything that is larger on stranger sequences. In code $\beta$ is `level`;
# `conformal_threshold(scores, level)` returns the first $\hat S$ and `trained_threshold(scores, level, delta)` the second.
# `calibrate(record, level)` makes a monitor of the active latents, averaged over the positions of a sequence, that can be
# saved and loaded; with `delta=` it keeps the second promise.
#
# With known truth: usual text is of two kinds, one of them rare, and the same sample gives the threshold that a Gaussian
# would suggest.

# %% tags=["hide-input"]
draws, least = 4000, math.ceil(1 / level - 1e-9) - 1
sure = math.ceil(math.log(delta) / math.log1p(-level))
n_known = max(100, least, sure)
rng = np.random.default_rng(seed)
known = rng.standard_normal((draws, n_known + 1))
known += 6 * (rng.random((draws, n_known + 1)) < 0.1)
seen, new = known[:, :-1], known[:, -1]
thresholds = [conformal_threshold(row, level) for row in seen]
spread = seen.std(axis=1) * stats.norm.isf(level)

# %%
raised = {
    "conformal": (new > thresholds).mean(),
    "Gaussian": (new > seen.mean(axis=1) + spread).mean(),
}
for name, rate in raised.items():
    print(f"{name}: false alarms {rate:.1%}, promised {level:.1%}")


# %% [markdown]
# Here the rate of false alarms of a single calibration is known as well. How often is it above the level, with either threshold?


# %% tags=["hide-input"]
def rates(cuts):
    cuts = np.array(cuts)
    return 0.9 * stats.norm.sf(cuts) + 0.1 * stats.norm.sf(cuts - 6)


trained = [trained_threshold(row, level, delta) for row in seen]
cuts = {"on average": thresholds, "for this one": trained}
for name, values in cuts.items():
    above = (rates(values) > level).mean()
    print(f"promised {name}: {above:.1%} of calibrations above level")

# %% [markdown]
# The conformal threshold keeps to the level although it knows nothing about the two kinds; the Gaussian one does not. (The
# standard error of either rate is below half a percent.) But it keeps to it on average: many a single calibration has a
# rate above the level. With the second threshold at most a share $\delta$ of them has.
#
# ## Five kinds of text
#
# Calibration sequences come from the discovery split, usual text from certification. Shifted text is Python source, the
# longest function of each module of the packages whose docstrings the model knows, without its docstrings. Random tokens
# are uniform over the vocabulary. The predecessor's random tokens had no BOS, so that two things were changed at once;
# here they come with and without BOS, and so does usual text.
#
# Fixed before any of this was measured were the level, the rivals, that the count is averaged over positions, and that only high counts raise the alarm. **Surprise** is the model's own loss in bits per token (the logarithm of its perplexity). **SAE
# error** is $\lVert h - \tilde h\rVert^2 / \lVert h\rVert^2$, averaged over positions. **Low confidence** is the largest
# next-token probability {cite}`hendrycks2017`, averaged, with its sign reversed. Each gets its threshold from the same
# calibration sequences in the same way. Strange text may well be explained badly, so the SAE's quality is checked
# on usual text only.

# %% tags=["hide-input"]
study = open_study(
    subject, sae, corpus, hook_name, n_seq, None, device, allow_bad_sae
)
unchecked = study.beside(allow_bad_sae=True)
calibration = study.beside(split="discovery")
there = len(study.losses(controls=False))
bare = unchecked.beside(bos=False, n_seq=2 * n_seq)
n_other = len(bare.losses(controls=False)) // 2
n_usual = min(there, n_other, n_seq or there)
random = unchecked.beside(corpus="random-tokens", n_seq=n_usual)
print(study)

# %% tags=["hide-input"]
studies = {
    "calibration": calibration,
    "usual text": study,
    "shifted text": unchecked.beside(corpus=shifted),
    "random tokens": random,
    "random tokens, no BOS": random.beside(bos=False),
    "usual text, no BOS": bare,
}
records = {
    kind: part.losses(controls=False) for kind, part in studies.items()
}
if len(records["calibration"]) < least:
    calibration.needs(least)

# %% [markdown]
# Every sequence gets four scores. Text without BOS is taken from the second half of its sample: other documents, so that no sequence is
# compared with itself.

# %% tags=["hide-input"]
used = {kind: slice(None) for kind in studies}
used["usual text"] = slice(n_usual)
used["usual text, no BOS"] = slice(n_other, n_other + n_usual)
scores = {}
for kind, record in records.items():
    split = studies[kind].settings["split"]
    rivals = studies[kind].measure("rivals", split=split)
    own = {"active latents": count_scores(record.l0)}
    own |= {"surprise": record.raw["clean"]} | rivals
    scores[kind] = {name: x[used[kind]] for name, x in own.items()}

# %%
sizes = {kind: len(x["surprise"]) for kind, x in scores.items()}
print("\n".join(f"{kind}: {n} sequences" for kind, n in sizes.items()))

# %% [markdown]
# Those are the sequences of each kind that there are, at most as many as were asked for.
#
# ## Active latents per token
#
# Mean, standard deviation and maximum over the positions that are spliced (the maximum to the nearest ten), and beside
# them what the predecessor reports for its models on English, code and random tokens without BOS {cite}`ssd2026`. Only the
# direction can be compared: the models, their SAEs and the text are others.

# %% tags=["hide-input"]
counts = {
    kind: record.l0[used[kind], int(record.provenance["bos"]) :]
    for kind, record in records.items()
}
here = {
    kind: f"{x.mean():.1f} / {x.std():.1f} / {round(x.max(), -1):.0f}"
    for kind, x in counts.items()
}
reported = {
    "usual text": ("59.77 / 17.87 / 162", "58.19 / 17.13 / 249"),
    "shifted text": ("62.03 / 17.08 / 177", "56.06 / 19.90 / 330"),
}
reported["random tokens, no BOS"] = (
    "87.35 / 24.45 / 364",
    "69.96 / 46.75 / 1539",
)
titles = ["GPT-2 small, as reported", "Gemma-2B, as reported"]
printed = pd.DataFrame(reported, index=titles).T
table = pd.DataFrame({"measured here": here}).join(printed).fillna("")
show(table, "Active latents per token: mean / deviation / maximum")

# %% [markdown]
# Here as there, random tokens activate more latents on average than usual text, and code about as many.
#
# ## A threshold for each score
#
# A score that is the same for every calibration sequence can raise no alarm: the count of a TopK SAE, which always
# activates `k` latents. It is left out of what follows.

# %% tags=["hide-input"]
usual, others = scores["usual text"], list(scores)[1:]
constant = [
    name
    for name, values in scores["calibration"].items()
    if alarms.is_constant(values)
]
names = [name for name in usual if name not in constant]
thresholds = {
    name: conformal_threshold(scores["calibration"][name], level)
    for name in names
}


def alarm(name, threshold):
    """When a score raises the alarm, in words."""
    if name == "low confidence":
        least = lower_text(-threshold, significant=4)
        return f"mean largest probability below {least}"
    unit = {"active latents": " a token", "surprise": " bits a token"}
    most = upper_text(threshold, significant=4)
    return f"above {most}{unit.get(name, '')}"


print("the same for every sequence:", ", ".join(constant) or "none")
for name, threshold in thresholds.items():
    print(f"{name}: alarm if {alarm(name, threshold)}")

# %% [markdown]
# The first number is the monitor: so many active latents per token, averaged over a sequence, are exceeded by one usual
# sequence in twenty, on average over calibrations (at the default level).
#
# For the calibration at hand the same level takes a higher threshold. It holds for each score by itself, except with
# probability $\delta$.

# %% tags=["hide-input"]
n_cal = len(scores["calibration"]["surprise"])
surer = {}
if n_cal >= sure:
    surer = {
        name: trained_threshold(
            scores["calibration"][name], level, delta
        )
        for name in names
    }
else:
    print(f"not tested: needs {sure} sequences, there are {n_cal}")
for name, threshold in surer.items():
    raised = (usual[name] > threshold).mean()
    print(f"{name}: alarm if {alarm(name, threshold)};")
    print(f"  false alarms {raised:.1%} of {len(usual[name])}")

# %% [markdown]
# These give up some detection for a promise about this very monitor. What follows uses the thresholds that hold on average.
#
# ## How often each raises the alarm
#
# The share of sequences above the threshold is, on usual text, the rate of false alarms, and elsewhere the rate of
# detection: first for text with BOS, then, folded, without. Its limits {cite}`clopper1934` are exact once the thresholds are taken as fixed. All limits of this page's
# tables hold at once with probability $1 - \delta$; $\delta$ is divided by their number.

# %% tags=["hide-input"]
frame = alarms.alarm_table(
    {kind: {n: scores[kind][n] for n in names} for kind in others},
    scores["calibration"],
    level,
    delta,
    usual="usual text",
    count="active latents",
)
by = frame.set_index(["kind", "score"])
main = [kind for kind in others if not kind.endswith("no BOS")]
n_kinds = sorted({min(sizes.values()), max(sizes.values())})
note = (
    f"n = {' to '.join(map(str, n_kinds))} of each kind, "
    f"level = {level:g}; all limits jointly at delta = {delta:g}"
)
columns = ["alarms", "alarms, at least", "alarms, at most"]
raised = by[columns].set_axis(["share", "at least", "at most"], axis=1)
caption = "Share of sequences that raise the alarm"
show(raised.loc[main], caption, note=note, decimals=3)

# %% tags=["hide-cell"]
bare = [kind for kind in others if kind not in main]
show(raised.loc[bare], f"{caption}: no BOS", note=note, decimals=3)

# %% [markdown]
# On usual text every score stays near the level. Random tokens are found by all of them. What tells the scores apart is
# shifted text: compare the rows of active latents and of the SAE's error there.
#
# ## How well each could do at any level
#
# *AUC*, the area under the ROC curve, is the probability that a sequence of the other kind scores above one of usual text,
# ties counted half. It is estimated from all pairs; its limits come from one partner for each sequence, which makes
# independent values in $[0, 1]$, to which the Dirichlet bound applies.

# %% tags=["hide-input"]
strange = by.drop(index="usual text", level="kind")
columns = ["AUC", "AUC, at least", "AUC, at most"]
areas = strange[columns].set_axis(
    ["AUC", "at least", "at most"], axis=1
)
caption = "AUC against usual text"
show(areas.loc[main[1:]], caption, note=note)

# %% tags=["hide-cell"]
show(areas.loc[bare], f"{caption}: no BOS", note=note)

# %% [markdown]
# An AUC of one half is a coin, one is perfect; the limits are wide because only one partner is used. On shifted text the
# count stays far from the SAE's error, on average over all thresholds; the curves themselves are in the figure.
#
# *Count ahead by* is the AUC of active latents minus that of the rival, negative where the rival is better. It is paired,
# sequence by sequence.

# %% tags=["hide-input"]
counted = "active latents" in names
ahead = strange.filter(like="ahead").drop(
    index="active latents", level="score", errors="ignore"
)
if counted:
    caption = "AUC of the count minus the rival's"
    display(show(ahead.loc[main[1:]], caption, note=note))
else:
    print("not tested: the score is constant")

# %% tags=["hide-cell"]
if counted:
    display(show(ahead.loc[bare], f"{caption}: no BOS", note=note))

# %% [markdown]
# A rival is certifiably better where the upper limit is below zero.

# %% mystnb={"figure": {"caption": "Top left: active latents per token, averaged over each sequence, by kind of text (without BOS: dashed lines), and the threshold calibrated on usual text (thin, dashed). Colours here are of kinds of text, in the other two panels of scores. Top right: ROC curves on shifted text, and the level (dashed). Bottom: share of sequences that raise the alarm at that level, with limits that hold jointly at delta; on usual text these are false alarms.", "name": "fig-explosion"}, "image": {"alt": "Three panels. Top left the densities of usual and shifted text overlap while those of random tokens lie beyond the threshold. Top right the curve of the SAE error hugs the upper left corner, surprise comes next, active latents stay near the diagonal. Below, all scores lie near the level on usual text and near one on random tokens, and spread out on shifted text."}} tags=["hide-input"]
density = pd.concat(
    pd.DataFrame(
        {"kind": kind, "score": scores[kind]["active latents"]}
    )
    for kind in others
)
roc = pd.concat(
    alarms.roc_curve(scores["shifted text"][name], usual[name]).assign(
        score=name
    )
    for name in names
)
drawn = frame.rename(
    columns=lambda name: name.replace("alarms, at ", "")
)
drawn = drawn.rename(
    columns={"alarms": "mean", "least": "lower", "most": "upper"}
)
cut = np.nan if constant else thresholds["active latents"]
fig = figures.plot_monitor(density, roc, drawn, cut, level)

# %% [markdown]
# Random tokens lie wholly beyond the threshold, nearly all usual text and Python source before it, one over the other. At every rate of false
# alarms the SAE's error detects more of the source than any other score, and at most of them the count detects the least. Below, at one level: the count's interval on random tokens is far from that on usual text; that on the source overlaps it.
#
# ## The promise and the rivals
#
# By {prf:ref}`conformal-monitor` the number of false alarms among fresh sequences is beta-binomial, or smaller where scores
# tie. That makes an exact test of the promise, with $\delta$ divided by the number of scores.

# %% tags=["hide-input"]
n_cal, n_false = sizes["calibration"], by.loc["usual text", "alarms"]
pvalues = {
    name: alarms.promise_pvalue(
        round(n_false[name] * n_usual), n_usual, n_cal, level
    )
    for name in names
}
kept = [name for name in names if pvalues[name] > delta / len(names)]
rank = math.ceil((n_cal + 1) * (1 - level) - 1e-9)
ends = stats.beta.ppf([0.025, 0.975], n_cal + 1 - rank, rank)
print("rate of false alarms in 19 of 20 calibrations:")
print(f"  {ends[0]:.1%} to {ends[1]:.1%}")

# %% tags=["hide-input"]
chances = [
    stats.binom.sf((usual[name] > limit).sum() - 1, n_usual, level)
    for name, limit in surer.items()
]
fits = min(chances) > delta / len(names) if surer else None
print("scores whose false alarms do not contradict the promise:")
print(f"  {len(kept)} of {len(names)}")

# %% [markdown]
# The guarantee is an average over calibrations: nineteen in twenty have a rate of false alarms in the range printed
# first. Below it are counted the scores whose false alarms are compatible with that: the promise is proved, and a test that does
# not reject it proves nothing more. The one about this calibration is tested in the same way: with the second thresholds
# ({prf:ref}`trained-monitor`), false alarms among usual sequences are compatible with a rate of at most the level.

# %% tags=["hide-input"]
random_kinds = [kind for kind in others if kind.startswith("random")]
exposed = beaten = "the score is constant"
if counted:
    found = by.loc[[(kind, "active latents") for kind in random_kinds]]
    least = found["alarms, at least"].min()
    most = found["alarms, at most"].min()
    share = lower_text(100 * least, 0)
    print(f"random sequences found: at least {share} %")
    exposed = decided(least > 0.9, most <= 0.9)

# %% tags=["hide-input"]
if counted:
    lead = ahead.loc["shifted text"].filter(like="at ")
    lower, upper = lead.to_numpy().T
    better = ", ".join(lead.index[upper < 0]) or "none"
    print(f"on shifted text the count is worse than: {better}")
    beaten = None
    if "SAE error" in lead.index:
        at = lead.index.get_loc("SAE error")
        beaten = decided(upper[at] < 0, lower[at] >= 0)

# %% [markdown]
# The claims; one that the limits neither show nor refute would be undecided:

# %% tags=["hide-input"]
claims(
    strict,
    {
        "no score contradicts the promise": len(kept) == len(names),
        "no score contradicts the promise for this calibration": fits,
        "the count finds random tokens": exposed,
        "the SAE's error beats the count on shifted text": beaten,
    },
)

# %% [markdown]
# ## What this shows, and what it does not
#
# A threshold on the number of active latents can be had with a guaranteed rate of false alarms, on average over
# calibrations or, somewhat higher, for the one calibration that one has, and random tokens exceed it with or without BOS: on the shipped subject the explosion is due to the tokens,
# while leaving out BOS moves the mean count of usual text only from 24.0 to 24.5, though its share of alarms goes from 0.045
# to 0.105. But the rivals find random tokens, too. On Python
# source the count raises hardly more alarms than on usual text; the error of the same SAE, calibrated in the same way, finds
# most of it. This does *not* show that the count is useless elsewhere: larger models, other SAEs and other shifts may
# differ. And the guarantee is about false alarms, never about what is missed. New against a round number of latents as an
# alarm are the rate that is promised, and rivals that are held to the same rate.
#
# ## Exercise
#
# How many sequences does it take to promise a rate of one percent? Predict the smallest `n_seq` first: the theorem
# asks for $n_\beta \le n$, which takes $n \ge 1/\beta - 1 = 99$. Then run `python -m saecert run 14_explosion -p level=0.01`,
# and the same with `-p n_seq=50` as well, and compare the message with your prediction.
#
# ```{admonition} Answer
# :class: dropdown
# At `n_seq=50` the page stops: `n_seq: at least 99 sequences are needed, and 'docstrings' gives
# 50 ...`. With fewer than 99 scores even an alarm above the largest of them would be raised by more
# than 1 % of new texts, on average. With the 200 of the default the promise at 1 % is kept, but the
# thresholds move up and find less: the SAE's error raises the alarm on 40.5 % of Python source
# where it did on 85.5 %, and the promise for *this* calibration cannot be tested, as it needs 299.
# ```
