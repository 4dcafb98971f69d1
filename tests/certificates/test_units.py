"""Statements about a finite list, and about new groups."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom
from synthetic_losses import HI, make_losses, random_losses

from saecert.certificates.certificate import Certificate, certify
from saecert.certificates.checks import group_findings, one_per_group
from saecert.certificates.comparison import compare
from saecert.records import SequenceLosses
from saecert.statistics.finite import finite_upper

BETTING = {"inequality": "betting", "eps": ()}


def grouped(losses, labels):
    return replace(losses, groups=np.asarray(labels, dtype=np.uint64))


# A finite list


def test_all_of_the_list_leaves_nothing_unknown():
    losses = random_losses(60)
    whole = certify(losses, population_size=60, **BETTING)
    assert whole.bound == pytest.approx(sum(whole.terms.values()))
    assert sum(whole.complexity.values()) == pytest.approx(0, abs=1e-9)
    for name, row in whole.statements.items():
        for limit in (row["lower"], row["upper"]):
            assert limit is None or limit == pytest.approx(row["mean"], abs=1e-9), name
    part = certify(losses, population_size=75, **BETTING)
    assert whole.bound < part.bound < certify(losses, **BETTING).bound
    assert "60 of the 75 sequences of the list" in str(part)


def test_direct_bound_is_the_inequality_for_the_list():
    losses = random_losses(60)
    certificate = certify(losses, population_size=100, seed=3, **BETTING)
    order = np.argsort(np.random.default_rng(3).random(60))
    x = losses.at("clean", 0.5)[order]
    limit = finite_upper("betting", 100)(x, certificate.lo, certificate.hi, -np.log(0.05))
    assert certificate.direct == pytest.approx(limit, abs=1e-12)


def test_a_certificate_about_a_list_is_saved_verified_and_compared(tmp_path):
    losses = random_losses(60)
    certificate = certify(losses, population_size=80, **BETTING)
    certificate.save(tmp_path / "certificate.json")
    again = Certificate.load(tmp_path / "certificate.json")
    assert again == certificate and again.verify(losses) > 50
    other = certify(losses, population_size=90, **BETTING)
    with pytest.raises(ValueError, match="population_size = 80, certificate b has 90"):
        compare(certificate, other, (losses, losses))
    smaller = certify(losses, population_size=80, pool=4, **BETTING)
    narrow = compare(certificate, smaller, (losses, losses), quantity="proxy")
    plain = [certify(losses, **BETTING), certify(losses, pool=4, **BETTING)]
    wide = compare(*plain, (losses, losses), quantity="proxy")
    assert narrow.upper - narrow.lower < wide.upper - wide.lower


def test_what_cannot_be_said_of_a_list():
    losses = random_losses(60)
    with pytest.raises(ValueError, match="population_size = 59 is less than the 60 sequences"):
        certify(losses, population_size=59, **BETTING)
    listed = replace(losses, provenance=losses.provenance | {"n_list": 304})
    with pytest.raises(ValueError, match="has 304 of them: give that number"):
        certify(listed, population_size=400, **BETTING)
    assert certify(listed, population_size=304, **BETTING).population_size == 304
    for name in ("dirichlet", "empirical_bernstein"):
        with pytest.raises(ValueError, match=f"'{name}' is not valid .* inequality='betting'"):
            certify(losses, population_size=100, inequality=name)
    with pytest.raises(ValueError, match="give one of the two"):
        certify(grouped(losses, range(60)), population_size=100, unit="group", **BETTING)


# Groups


def test_one_sequence_of_each_group_at_random():
    losses = grouped(make_losses(np.full(9, 3.0)), [1, 1, 1, 1, 1, 1, 2, 2, 3])
    seen = np.zeros(9)
    for seed in range(600):
        record = one_per_group(losses, seed)
        assert sorted(record.groups.tolist()) == [1, 2, 3]
        seen[record.ids.astype(int)] += 1
    assert seen[8] == 600
    assert binom.cdf(seen[:6].min(), 600, 1 / 6) > 1e-4 and binom.cdf(seen[6], 600, 0.5) > 1e-4
    firsts = [one_per_group(losses, seed).groups[0] for seed in range(600)]
    assert min(firsts.count(label) for label in (1, 2, 3)) > 150, "a large group is no earlier"


def test_unit_group_counts_groups():
    losses = grouped(random_losses(60), np.arange(60) // 4)
    certificate = certify(losses, unit="group", inequality="hoeffding", eps=())
    assert certificate.n_seq == 15 and "15 groups, one sequence each" in str(certificate)
    assert certificate.verify(losses) > 50
    assert certificate.bound > certify(losses, inequality="hoeffding", eps=()).bound
    some = certify(losses, unit="group", n_seq=7, inequality="hoeffding", eps=())
    assert some.n_seq == 7


def test_coverage_for_new_groups_and_the_mutant_that_ignores_them():
    """Groups of 20 equal losses, at the ends of their support: 25 coins, not 500."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(25), 20)
    missed = {"group": 0, "sequence": 0}
    truth = (1 + HI) / 2
    for _ in range(150):
        losses = grouped(make_losses(np.where(rng.random(25) < 0.5, 1.0, HI)[labels]), labels)
        for unit in missed:
            certificate = certify(losses, unit=unit, pool=16, inequality="chernoff_kl", eps=())
            missed[unit] += certificate.direct < truth
    assert binom.sf(missed["group"] - 1, 150, 0.05) > 1e-3
    assert binom.sf(missed["sequence"] - 1, 150, 0.05) < 1e-6


def test_design_effect_is_reported_where_groups_are_known():
    labels = np.repeat(np.arange(30), 4)
    values = np.random.default_rng(0).uniform(2, 8, 30)[labels]
    record = grouped(make_losses(values), labels)
    found = group_findings(record, values)
    assert found["n_groups"] == 30 and found["intraclass_correlation"] == pytest.approx(1)
    assert found["design_effect"] == pytest.approx(4, rel=0.05)
    certificate = certify(record, pool=16, inequality="hoeffding", eps=())
    assert {name: certificate.checks[name] for name in found} == pytest.approx(found)
    assert certificate.allow == []
    assert "30 groups: design effect 4.1" in str(certificate)
    assert "design_effect" not in certify(random_losses(60), eps=()).checks


def test_groups_that_are_missing_or_too_few():
    losses = random_losses(60)
    with pytest.raises(ValueError, match="unit='group' needs to know the group of every sequence"):
        certify(losses, unit="group")
    with pytest.raises(ValueError, match="at least 2 groups, the record has 1"):
        certify(grouped(losses, np.zeros(60)), unit="group")
    with pytest.raises(ValueError, match="unknown unit 'document'; there are sequence, group"):
        certify(losses, unit="document")
    with pytest.raises((ValueError, TypeError), match="groups"):
        grouped(losses, np.zeros(59))


def test_a_record_with_groups_is_saved_and_one_without_stays_what_it_was(tmp_path):
    losses = random_losses(20)
    with_groups = grouped(losses, np.arange(20) // 2)
    for record in (losses, with_groups):
        record.save(tmp_path / "losses.npz")
        again = SequenceLosses.load(tmp_path / "losses.npz")
        assert again.fingerprint() == record.fingerprint()
    np.testing.assert_array_equal(again.groups, with_groups.groups)
    assert with_groups.fingerprint() != losses.fingerprint()
    np.testing.assert_array_equal(with_groups.take(np.array([3, 0])).groups, [1, 0])


def test_groups_that_chose_the_pool_are_no_new_groups():
    losses = random_losses(60)
    labels = np.arange(60) // 3
    seen = losses.discovery
    shared = replace(seen, losses=replace(seen.losses, groups=np.arange(40, dtype=np.uint64)))
    record = replace(grouped(losses, labels), discovery=shared)
    with pytest.raises(ValueError, match="shared_groups = 20 in 20 sequences, groups that are in"):
        certify(record, unit="group")
    allowed = certify(record, unit="group", allow=("shared_groups",), eps=())
    assert allowed.checks["shared_groups"] == 20
    apart = np.arange(1_000, 1_040, dtype=np.uint64)
    others = replace(seen, losses=replace(seen.losses, groups=apart))
    assert certify(replace(record, discovery=others), unit="group").checks["shared_groups"] == 0
    assert "shared_groups" not in certify(record).checks
