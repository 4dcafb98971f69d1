import dataclasses
import functools
import itertools
import re

import numpy as np
import pytest
from synthetic_losses import make_losses, random_losses

from saecert.certificates import certificate
from saecert.certificates.checks import CHECKS, TOLERANCE, checked_sample
from saecert.corpora.duplicates import near_duplicates
from saecert.records import Discovery

certify = functools.partial(certificate.certify, inequality="hoeffding")
NAMES = np.arange(100, 160, dtype=np.uint64)


def recorded(losses=None, **provenance):
    """A record in which every check can be made and none finds anything."""
    losses = random_losses() if losses is None else losses
    known = {"batch_threshold": False, "batch_dependence": 0.0} | provenance
    rows = {
        "similar": losses.ids,
        "documents": losses.ids + np.uint64(7),
        "overlap": np.zeros(len(losses), dtype=bool),
    }
    return dataclasses.replace(losses, provenance=losses.provenance | known, **rows)


def changed(values, rows, source):
    """A copy of `values` in which `rows` repeat the value at `source`."""
    values = values.copy()
    values[rows] = values[source]
    return values


# Near-duplicates


def shingles(row, width=5):
    return {tuple(row[i : i + width]) for i in range(len(row) - width + 1)}


def first_resembled(tokens, ids):
    """The definition, pair by pair."""
    sets = [shingles(row) for row in tokens.tolist()]
    cluster = list(range(len(tokens)))
    for i, j in itertools.combinations(range(len(tokens)), 2):
        if 2 * len(sets[i] & sets[j]) >= len(sets[i] | sets[j]):
            old = cluster[j]
            new = cluster[i]
            cluster = [min(old, new) if c in (old, new) else c for c in cluster]
    return ids[cluster]


def test_near_duplicates_are_those_of_the_definition():
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 30, (40, 24)).astype(np.int32)
    for copy in range(20, 40):  # copies with more and more of their tokens replaced
        tokens[copy] = tokens[rng.integers(copy)]
        tokens[copy, : copy - 20] = rng.integers(0, 30, copy - 20)
    ids = NAMES[:40]
    found = near_duplicates(tokens, ids)
    np.testing.assert_array_equal(found, first_resembled(tokens, ids))
    assert 0 < np.sum(found != ids) < 20
    assert set(found) <= set(ids)


def test_jaccard_of_one_half_is_near_and_less_is_not():
    tokens = np.arange(100, 120)[None].repeat(3, axis=0)  # 16 shingles
    tokens[1, :5] = range(5)
    tokens[2, :6] = range(10, 16)  # share 11 of 21 with the first, and 10 of 22
    assert near_duplicates(tokens, NAMES[:3]).tolist() == [100, 100, 102]


def test_links_are_followed_to_the_first_of_a_cluster():
    tokens = np.arange(60).reshape(3, 20)
    tokens[1:] = tokens[0]
    tokens[1, :5] = range(100, 105)  # near the first
    tokens[2, :5] = tokens[1, :5]
    tokens[2, 15:] = range(200, 205)  # near the second only
    assert near_duplicates(tokens[[0, 2]], NAMES[:2]).tolist() == [100, 101]
    assert near_duplicates(tokens, NAMES[:3]).tolist() == [100, 100, 100]
    assert near_duplicates(tokens[[2, 0, 1]], NAMES[:3]).tolist() == [100, 100, 100]


def test_windows_shorter_than_a_shingle_are_compared_whole():
    assert near_duplicates(np.array([[1, 2, 3], [1, 2, 3], [1, 2, 4]]), NAMES[:3]).tolist() == [
        100,
        100,
        102,
    ]


# Checks


def test_a_clean_sample_passes_and_says_so():
    certified = certify(recorded())
    assert certified.checks == dict.fromkeys(CHECKS, 0)
    assert certified.allow == []
    assert "Not checked" not in str(certified)
    assert "Let through" not in str(certified)


@pytest.mark.parametrize(
    ("name", "record", "value", "message"),
    [
        (
            "duplicates",
            recorded().take(np.array([0, 1, 2, 1, 1])),
            2,
            "duplicates = 2 in 5 sequences.*keep each document once",
        ),
        (
            "near_duplicates",
            dataclasses.replace(recorded(), similar=changed(recorded().ids, [5, 6, 9], 2)),
            3,
            "near_duplicates = 3 in 60 .*keep the first of each cluster",
        ),
        (
            "same_document",
            dataclasses.replace(recorded(), documents=changed(recorded().documents, [5], 2)),
            1,
            "same_document = 1 in 60 .*keep one of each document",
        ),
        (
            "overlap",
            dataclasses.replace(recorded(), overlap=np.arange(60) < 4),
            4,
            "overlap = 4 in 60 .*drop them from the sample",
        ),
        (
            "batch_threshold",
            recorded(batch_threshold=True),
            1,
            "batch_threshold = 1 .*the threshold fixed in its training",
        ),
        (
            "batch_dependence",
            recorded(batch_dependence=0.002),
            0.002,
            "batch_dependence = 0.002 .*find the scale, threshold or noise",
        ),
    ],
)
def test_findings_are_refused_unless_allowed_and_then_recorded(name, record, value, message):
    with pytest.raises(
        ValueError, match=f"(?s){message}.*pass allow=\\('{name}',\\): it is recorded in the file"
    ):
        certify(record)
    others = [other for other in CHECKS if other != name]
    with pytest.raises(ValueError, match=message):
        certify(record, allow=others)
    certified = certify(record, allow=(name, others[0]))
    assert certified.checks == dict.fromkeys(CHECKS, 0) | {name: value}
    assert certified.allow == [name]  # what was not needed is not recorded
    assert f"Let through: {name} = {value:g}" in str(certified)
    assert certify(record, allow=name) == certified


def test_every_finding_is_named_at_once():
    record = dataclasses.replace(recorded(batch_threshold=True), overlap=np.ones(60, dtype=bool))
    with pytest.raises(
        ValueError,
        match=r"(?s)overlap = 60.*batch_threshold = 1.*allow=\('overlap', 'batch_threshold',\)",
    ):
        certify(record)


def test_every_message_names_a_call_that_works():
    """Each call in the message, applied to the record, leaves nothing of its kind."""
    record = recorded()
    chosen = dataclasses.replace(record.discovery, losses=record.take(np.arange(10, 40)))
    damaged = {
        "duplicates": record.take(np.array([*range(60), 1, 1])),
        "near_duplicates": dataclasses.replace(record, similar=changed(record.ids, [5, 9], 2)),
        "same_document": dataclasses.replace(record, documents=changed(record.documents, [5], 2)),
        "overlap": dataclasses.replace(record, overlap=np.arange(60) < 4),
        "pool_from_sample": dataclasses.replace(record, discovery=chosen),
    }
    for name, losses in damaged.items():
        call = re.search(rf"{name} = \d+ in .*\((losses\.take\(.*\))\);\n", refusal(losses))[1]
        mended = eval(call, {"losses": losses, "np": np})
        assert certify(mended).checks[name] == 0
        assert len(mended) == 60 - (0 if name == "duplicates" else refused_of(losses, name))


def refusal(losses) -> str:
    """What `certify` says of a record that it refuses."""
    with pytest.raises(ValueError, match="to certify all the same") as refused:
        certify(losses)
    return str(refused.value)


def refused_of(losses, name) -> int:
    """How many sequences the message counts under a name."""
    return int(re.search(rf"{name} = (\d+) in", refusal(losses))[1])


def test_a_sample_of_which_discovery_has_some_is_mended_by_one_call():
    """As where documents of both splits begin alike: three problems, two of them with one call."""
    record = recorded(batch_threshold=True)
    chosen = dataclasses.replace(record.discovery, losses=record.take(np.arange(10, 40)))
    shared = np.arange(60) >= 8
    losses = dataclasses.replace(record, discovery=chosen, overlap=shared)
    said = refusal(losses)
    assert said.count("(losses.take(~losses.overlap));\n") == 2
    assert [line.partition(" = ")[0] for line in said.split(";\n")[:-1]] == [
        "overlap", "pool_from_sample", "batch_threshold"]  # fmt: skip
    mended = losses.take(~losses.overlap)
    assert len(certify(mended, allow="batch_threshold").checks) == len(CHECKS)


@pytest.mark.parametrize(
    "losses",
    [
        dataclasses.replace(recorded(), overlap=np.arange(60) < 59),
        dataclasses.replace(
            recorded(),
            discovery=Discovery(
                "frequency", recorded().discovery.order, recorded().activity().sum(axis=0), 60
            ),
        ),
    ],
)
def test_no_call_is_named_that_would_not_do(losses):
    """One sequence would be left; or the pool was chosen on the whole sample."""
    assert "losses.take" not in refusal(losses)


def test_what_is_not_recorded_is_not_called_clean():
    unknown = {"near_duplicates", "same_document", "overlap", "batch_threshold", "batch_dependence"}
    assert {
        name for name, value in certify(random_losses()).checks.items() if value is None
    } == unknown
    without = dataclasses.replace(random_losses(), discovery=None)
    assert certify(without, pool=4).checks["pool_from_sample"] is None
    counted = dataclasses.replace(random_losses().discovery, losses=None)
    assert (
        certify(dataclasses.replace(random_losses(), discovery=counted), pool=4).checks[
            "pool_from_sample"
        ]
        is None
    )


def test_counts_are_those_of_the_sequences_used():
    record = dataclasses.replace(recorded(), overlap=np.arange(60) == 30)
    assert certify(record, n_seq=30).checks["overlap"] == 0
    with pytest.raises(ValueError, match="overlap = 1 in 31 sequences"):
        certify(record, n_seq=31)


def test_drawing_with_replacement_counts_duplicates_and_nothing_else():
    rows = np.random.default_rng(0).integers(0, 60, 60)
    checks = certify(recorded().take(rows), allow=("duplicates",)).checks
    assert checks == dict.fromkeys(CHECKS, 0) | {"duplicates": 60 - len(set(rows))}


def test_rounding_is_no_dependence_on_the_batch():
    assert certify(recorded(batch_dependence=TOLERANCE)).checks["batch_dependence"] == TOLERANCE


def test_an_unknown_change_with_the_batch_is_not_called_small():
    with pytest.raises(ValueError, match="batch_dependence = nan in 60 sequences"):
        certify(recorded(batch_dependence=float("nan")))


def test_a_pool_chosen_on_the_sample_is_noticed_where_it_counts_as_fixed():
    record = recorded()
    same = dataclasses.replace(record.discovery, losses=record.take(np.arange(10, 40)))
    counted = Discovery("frequency", record.discovery.order, record.activity().sum(axis=0), 60)
    for discovery, value in ((same, 30), (counted, 60)):
        chosen = dataclasses.replace(record, discovery=discovery)
        for settings in (
            {"pool": 4},
            {"method": "nested"},
            {"method": "in_sample"},
            {"method": "in_sample", "prior": "uniform"},
        ):
            with pytest.raises(
                ValueError,
                match=f"pool_from_sample = {value} in 60 sequences.*choose on other text",
            ):
                certify(chosen, **settings)
        paid = certify(chosen, method="in_sample", prior="uniform", eps=())
        assert paid.checks["pool_from_sample"] == 0
        assert paid.concepts == []
    assert (
        certify(dataclasses.replace(record, discovery=same), n_seq=10).checks["pool_from_sample"]
        == 0
    )


def test_unknown_checks_are_refused():
    with pytest.raises(
        ValueError,
        match="allow names no such check: duplicate; there are duplicates, near_duplicates",
    ):
        certify(recorded(), allow=("duplicate",))


def test_two_sequences_are_enough_and_one_is_not():
    sample, found, fired = checked_sample(recorded(), 2, 0, ())
    assert (len(sample), fired, list(found)) == (2, [], list(CHECKS))
    with pytest.raises(
        ValueError, match="n_seq must lie between 2 and the 60 sequences measured, got 1"
    ):
        checked_sample(recorded(), 1, 0, ())
    assert certify(make_losses([3.0, 4.0], pools={4: [3.0, 4.0]}), pool=4, eps=()).n_seq == 2


@pytest.mark.parametrize(
    ("n_ctx", "known"), [(11, False), (18, False), (19, True), (128, True), (None, True)]
)
def test_windows_too_short_for_near_duplicates_say_so(n_ctx, known):
    """A token in the middle hides a repeat of 18: none found does not mean that there are none."""
    certified = certify(recorded(n_ctx=n_ctx))
    assert certified.checks["near_duplicates"] == (0 if known else None)
    note = f"Not checked, since windows of {n_ctx} tokens are too short to tell: near_duplicates"
    assert (note in " ".join(str(certified).split())) != known
    assert "for want of a record" not in str(certified)


def test_near_duplicates_of_short_windows_that_were_found_count():
    record = recorded(n_ctx=8)
    record = dataclasses.replace(record, similar=changed(record.ids, [5, 6], 2))
    with pytest.raises(ValueError, match="near_duplicates = 2 in 60 sequences"):
        certify(record)
