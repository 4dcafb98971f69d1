"""Shards of a sample make the record of one process, and what does not fit is named."""

import itertools
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import N_CTX, make_texts

from saecert import certify, collect_layers
from saecert.__main__ import main
from saecert.certificates.stopping import certify_stream
from saecert.measurement import sharded
from saecert.measurement.engines import Task, measure_all
from saecert.measurement.sharded import measure_shard
from saecert.records import SequenceLosses
from saecert.shards import (
    Plan,
    Shard,
    _missing,
    arriving,
    begin,
    merge,
    read_plan,
    shard_path,
    tidy,
)
from saecert.subjects.subject import Subject

HOOK = "blocks.1.hook_resid_post"
HOOKS = ["blocks.0.hook_resid_post", HOOK]
N_SHARDS = 4


@pytest.fixture(scope="module")
def shards(subject, corpora, tmp_path_factory):
    """A folder of four shards at two hook points, measured in another order than that of the
    sample."""
    folder = tmp_path_factory.mktemp("shards")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAECERT_CACHE", str(tmp_path_factory.mktemp("cache")))
        for number in (3, 1, 4, 2):
            measured(subject, corpora, folder, Shard(number, N_SHARDS))
    return folder


@pytest.fixture
def folder(shards, tmp_path):
    """A copy of it."""
    return shutil.copytree(shards, tmp_path / "shards")


def measured(subject, corpora, folder, shard, hooks=HOOKS, **settings):
    settings = {"discovery": corpora["discovery"], "progress": False} | settings
    return measure_shard(subject, corpora["certification"], hooks, shard, folder, **settings)


def rewritten(path, **changes):
    """The record in a file, changed and written again."""
    record = SequenceLosses.load(path)
    replace(record, **changes).save(path)


# The same numbers


def test_shards_make_the_record_of_one_process_bit_for_bit(shards, subject, corpora):
    whole = collect_layers(
        subject, corpora["certification"], HOOKS, discovery=corpora["discovery"], progress=False
    )
    for hook_name, record in whole.items():
        merged = merge(shards, hook_name)
        assert merged.provenance == record.provenance
        assert merged.fingerprint() == record.fingerprint()
        assert certify(merged) == certify(record)


def test_a_shard_that_is_measured_is_recognised(folder, subject, corpora, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(sharded, "measured", None)
    for number in range(1, N_SHARDS + 1):
        measured(subject, corpora, folder, Shard(number, N_SHARDS))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_what_a_process_left_that_was_killed_after_its_shard_was_whole_goes(
    folder, subject, corpora
):
    place = folder / "unfinished" / f"2-of-{N_SHARDS}"
    place.mkdir(parents=True)
    (place / "quantity-0123.npz").write_bytes(b"a checkpoint")
    measured(subject, corpora, folder, Shard(2, N_SHARDS))
    assert not (folder / "unfinished").exists()


def test_tidying_where_another_process_tidies(folder, monkeypatch):
    """It removes the folder of what is unfinished after it was seen, and before it is listed."""
    unfinished = folder / "unfinished"
    unfinished.mkdir()

    def removed(path, listed=Path.iterdir):
        unfinished.rmdir()
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", removed)
    tidy(folder)
    assert not unfinished.exists()


def test_a_damaged_shard_is_measured_again(folder, subject, corpora):
    fingerprint = merge(folder, HOOK).fingerprint()
    path = shard_path(folder, HOOK, Shard(2, N_SHARDS))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"shard-.*2-of-4.npz is not a whole losses file"):
        merge(folder, HOOK)
    measured(subject, corpora, folder, Shard(2, N_SHARDS))
    assert merge(folder, HOOK).fingerprint() == fingerprint


def test_another_split_makes_the_same_record(shards, subject, corpora, tmp_path):
    n_seq = len(corpora["certification"])
    for number in range(1, 8):
        measured(subject, corpora, tmp_path / "other", Shard(number, 7), [HOOK])
    other = merge(tmp_path / "other")
    assert len(other) == n_seq
    assert other.fingerprint() == merge(shards, HOOK).fingerprint()


def test_shards_in_any_order_are_put_in_that_of_the_sample(folder):
    """Engines give no order: rows are sorted by the ids of the plan."""
    fingerprint = merge(folder, HOOK).fingerprint()
    for number in range(1, N_SHARDS + 1):
        path = shard_path(folder, HOOK, Shard(number, N_SHARDS))
        record = SequenceLosses.load(path)
        record.take(np.random.default_rng(number).permutation(len(record))).save(path)
    assert merge(folder, HOOK).fingerprint() == fingerprint


def test_what_is_fixed_beforehand_is_measured_once(subject, corpora, tmp_path, monkeypatch):
    paths = measured(subject, corpora, tmp_path / "out", None, [HOOK])
    assert [path.name for path in paths] == [f"survey-{HOOK}.npz"]
    monkeypatch.setattr(sharded, "beforehand", None)
    measured(subject, corpora, tmp_path / "out", Shard(1, N_SHARDS), [HOOK])


def test_without_discovery(subject, corpora, tmp_path):
    for number in (1, 2):
        measured(subject, corpora, tmp_path / "out", Shard(number, 2), [HOOK], discovery=None)
    whole = collect_layers(subject, corpora["certification"], [HOOK], progress=False)
    assert merge(tmp_path / "out").fingerprint() == whole[HOOK].fingerprint()


def test_the_rows_of_all_shards_are_the_sample():
    for n_seq in (8, 9, 31, 100):
        for of in range(1, n_seq // 2 + 1):
            rows = [Shard(number, of).rows(n_seq) for number in range(1, of + 1)]
            assert rows[0][0] == 0 and rows[-1][1] == n_seq
            assert all(before[1] == after[0] for before, after in itertools.pairwise(rows))
            assert min(stop - start for start, stop in rows) >= 2


# A stream


@pytest.mark.parametrize("order", ["sample", "arrival"])
def test_a_stream_reads_shards_as_they_arrive(shards, order):
    parts = arriving(shards, N_SHARDS, HOOK, order=order, timeout=0.0)
    stopped = certify_stream(parts, target={"gap": 0.5})
    whole = certify_stream([merge(shards, HOOK)], target={"gap": 0.5})
    assert stopped.n == whole.n
    np.testing.assert_allclose(stopped.log_wealth, whole.log_wealth, rtol=1e-12)


def test_a_stream_waits_for_the_next_shard_in_the_order_of_the_sample(folder):
    shard_path(folder, HOOK, Shard(2, N_SHARDS)).unlink()
    parts = arriving(folder, N_SHARDS, HOOK, pause=0.01, timeout=0.05)
    assert len(next(parts)) == Shard(1, N_SHARDS).rows(len(read_plan(folder).ids))[1]
    with pytest.raises(
        TimeoutError, match=r"no new shard in .* for 0.05 s; awaited: 2/4, 3/4, 4/4"
    ):
        next(parts)
    anyone = arriving(folder, N_SHARDS, HOOK, order="arrival", pause=0.01, timeout=0.05)
    assert len(list(zip(range(3), anyone, strict=False))) == 3


def test_no_more_shards_are_read_than_are_needed(shards):
    read = []

    def counted():
        for part in arriving(shards, N_SHARDS, HOOK):
            read.append(len(part))
            yield part

    stopped = certify_stream(counted(), target={"gap": 8.0})
    assert stopped.holds and len(read) < N_SHARDS


def test_an_unknown_order(shards):
    with pytest.raises(ValueError, match="order takes 'sample' or 'arrival', got 'any'"):
        next(arriving(shards, N_SHARDS, HOOK, order="any"))


# What does not fit


def test_a_shard_that_is_missing_is_named(folder):
    shard_path(folder, HOOK, Shard(3, N_SHARDS)).unlink()
    with pytest.raises(
        ValueError, match=r"sequences \d+ to \d+ are missing in .*: measure shard 3/4"
    ):
        merge(folder, HOOK)
    shard_path(folder, HOOK, Shard(4, N_SHARDS)).unlink()
    with pytest.raises(ValueError, match=r"measure shard 3/4, 4/4"):
        merge(folder, HOOK)


def test_a_hole_between_two_splits_is_no_shard_of_either(folder):
    """Shards 1/4 and 2/2 leave a quarter that 2/4 fills, 1/4 and 3/3 a hole that no third does."""
    n_seq = len(read_plan(folder).ids)
    first, thirds = Shard(1, 4).rows(n_seq)[1], Shard(3, 3).rows(n_seq)[0]
    assert _missing(first, Shard(2, 4).rows(n_seq)[1], 4, n_seq, folder).endswith("shard 2/4")
    hole = _missing(first, thirds, 3, n_seq, folder)
    assert f"sequences {first} to {thirds - 1} are missing" in hole
    assert "none of 3 are just these; delete those of all splits but one" in hole
    assert _missing(3, 5, 2, 10, folder).endswith("measure what it lacks")


def test_a_sequence_that_is_there_twice_is_named(folder, subject, corpora):
    measured(subject, corpora, folder, Shard(1, 3))
    with pytest.raises(
        ValueError, match=r"sequence 0 is twice in .*: in shard 1/4 and in shard 1/3"
    ):
        merge(folder, HOOK)


def test_a_shard_under_the_name_of_another(folder):
    shutil.copy(
        shard_path(folder, HOOK, Shard(1, N_SHARDS)), shard_path(folder, HOOK, Shard(2, N_SHARDS))
    )
    with pytest.raises(ValueError, match=r"shard 1/4 \(.*2-of-4.npz\) is named as another one"):
        merge(folder, HOOK)


def test_sequences_that_a_shard_lacks_or_repeats_are_named(folder):
    path = shard_path(folder, HOOK, Shard(2, N_SHARDS))
    record = SequenceLosses.load(path)
    start = Shard(2, N_SHARDS).rows(len(read_plan(folder).ids))[0]
    record.take(np.arange(1, len(record))).save(path)
    expected = rf"sequence {start} \(id {int(record.ids[0])}\) is missing from shard 2/4 \("
    with pytest.raises(ValueError, match=expected):
        merge(folder, HOOK)
    record.take(np.array([0, 1, 2, *range(2, len(record))])).save(path)
    expected = rf"sequence {start + 2} \(id {int(record.ids[2])}\) is 2 times in shard 2/4 \("
    with pytest.raises(ValueError, match=expected):
        merge(folder, HOOK)
    ids = np.concatenate([record.ids, [np.uint64(7)]])
    replace(record.take(np.array([*range(len(record)), 0])), ids=ids).save(path)
    with pytest.raises(ValueError, match=r"shard 2/4 .* a sequence \(id 7\) that belongs to no"):
        merge(folder, HOOK)


@pytest.mark.parametrize(
    "name", ["model_sha256", "processing", "dtype", "corpus_sha256", "versions"]
)
def test_a_shard_of_something_else_is_named(folder, name):
    path = shard_path(folder, HOOK, Shard(2, N_SHARDS))
    facts = SequenceLosses.load(path).provenance
    rewritten(path, provenance=facts | {name: "other"})
    with pytest.raises(ValueError, match=rf"shard 2/4 \(.*\) was measured with another {name}"):
        merge(folder, HOOK)


@pytest.mark.parametrize("name", ["sae_sha256", "l0", "population", "proxies"])
def test_a_shard_that_differs_from_the_others_is_named(folder, name):
    path = shard_path(folder, HOOK, Shard(3, N_SHARDS))
    facts = SequenceLosses.load(path).provenance
    if name == "proxies":
        facts["shard"]["proxies"] |= {"full": "another key"}
    else:
        facts[name] = "other"
    rewritten(path, provenance=facts)
    with pytest.raises(ValueError, match=rf"shard 3/4 \(.*\) has another {name} than shard 1/4"):
        merge(folder, HOOK)


def test_a_shard_with_another_ranking_or_other_arrays_is_named(folder):
    path = shard_path(folder, HOOK, Shard(2, N_SHARDS))
    record = SequenceLosses.load(path)
    turned = replace(record.discovery, order=record.discovery.order[::-1].copy())
    replace(record, discovery=turned).save(path)
    with pytest.raises(ValueError, match="another ranking of the discovery split than shard 1/4"):
        merge(folder, HOOK)
    replace(record, raw={}).save(path)
    with pytest.raises(ValueError, match="another arrays than shard 1/4"):
        merge(folder, HOOK)


def test_records_that_are_no_shards(folder):
    path = shard_path(folder, HOOK, Shard(2, N_SHARDS))
    facts = SequenceLosses.load(path).provenance
    rewritten(path, provenance={key: facts[key] for key in facts if key != "shard"})
    with pytest.raises(ValueError, match="is a record, but not a shard"):
        merge(folder, HOOK)
    for number in ("2", 2.0, True, 9, None):
        rewritten(path, provenance=facts | {"shard": facts["shard"] | {"number": number}})
        with pytest.raises(ValueError, match="was edited"):
            merge(folder, HOOK)


def test_a_folder_keeps_to_its_plan(folder, subject, corpora, folders):
    sample = corpora["certification"]
    with pytest.raises(ValueError, match=r"was begun with another alphas \(\[0.5, 0.01\], now \[0"):
        measured(subject, corpora, folder, Shard(1, N_SHARDS), alphas=[0.3])
    with pytest.raises(ValueError, match="was begun with another pools"):
        measured(subject, corpora, folder, Shard(1, N_SHARDS), pools=[8])
    fewer = {**corpora, "certification": sample.take(40)}
    with pytest.raises(ValueError, match="was begun with another corpus_sha256"):
        measured(subject, fewer, folder, Shard(1, N_SHARDS))
    plan = read_plan(folder)
    with pytest.raises(ValueError, match="was begun with another the sequences|the sequences"):
        begin(folder, Plan(plan.facts, plan.ids[::-1].copy()))


def test_a_folder_keeps_to_its_sae(folder, subject, corpora):
    first, second = HOOKS
    swapped = replace(subject, saes={first: subject.sae_at(second), second: subject.sae_at(first)})
    assert isinstance(swapped, Subject)
    shard_path(folder, HOOK, Shard(1, N_SHARDS)).unlink()
    with pytest.raises(ValueError, match=f"was begun with another SAE at {re.escape(HOOK)}"):
        measured(swapped, corpora, folder, Shard(1, N_SHARDS), [HOOK])


def test_a_damaged_plan_or_survey(folder, subject, corpora):
    survey = folder / f"survey-{HOOK}.npz"
    survey.write_bytes(survey.read_bytes()[:-10])
    shard_path(folder, HOOK, Shard(1, N_SHARDS)).unlink()
    with pytest.raises(ValueError, match=r"survey-.* is damaged \(.*\): delete it and go on"):
        measured(subject, corpora, folder, Shard(1, N_SHARDS))
    plan = folder / "plan.npz"
    plan.write_bytes(plan.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"plan.npz is damaged"):
        merge(folder, HOOK)
    np.savez(plan, header=np.array(json.dumps({"format": 1})), ids=np.arange(9.0))
    with pytest.raises(ValueError, match="plan.npz is damaged"):
        merge(folder, HOOK)


@pytest.mark.parametrize("text", ["0/4", "5/4", "1/0", "2", "a/b", "-1/4", "1/4/2", "", "1.0/4"])
def test_shards_that_there_are_not(text):
    with pytest.raises(ValueError, match=r"^shard .*(takes i/n|goes from 1 to the second)"):
        Shard.parse(text)


def test_more_shards_than_pairs_of_sequences(subject, corpora, tmp_path):
    n_seq = len(corpora["certification"])
    with pytest.raises(ValueError, match=f"at most {n_seq // 2} shards"):
        measured(subject, corpora, tmp_path / "out", Shard(1, n_seq))
    assert not (tmp_path / "out").exists()


# From a shell


@pytest.fixture
def command(folders, tmp_path):
    """Arguments of ``measure`` for the tiny subject."""
    texts = tmp_path / "texts.jsonl"
    lines = [json.dumps({"text": text}) for text in make_texts(60)]
    texts.write_text("\n".join(lines), encoding="utf-8")
    where = ["--subject", str(folders["llama"]), "--corpus", str(texts), "--n-ctx", str(N_CTX)]
    return ["measure", *where, "--hooks", HOOK, "--out", str(tmp_path / "out")]


def test_shards_from_a_shell(command, tmp_path, capsys):
    for number in (2, 1):
        assert main([*command, "--shard", f"{number}/2"]) == 0
    assert f"written to {tmp_path}/out/shard-{HOOK}-1-of-2.npz" in capsys.readouterr().out
    assert main(["merge", str(tmp_path / "out")]) == 0
    assert main([*command[:-1], str(tmp_path / "whole")]) == 0
    assert main(["merge", str(tmp_path / "whole"), "--record", str(tmp_path / "one.npz")]) == 0
    merged = SequenceLosses.load(tmp_path / f"out/record-{HOOK}.npz")
    assert merged.fingerprint() == SequenceLosses.load(tmp_path / "one.npz").fingerprint()
    left = {path.name for path in (tmp_path / "out").iterdir()}
    kinds = ("plan.npz", "survey-", "tried-", "shard-", "record-")
    assert all(name.startswith(kinds) for name in left)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--shard", "5/4"], "the first number goes from 1 to the second"),
        (["--shard", "two"], "shard takes i/n, such as 2/4, got 'two'"),
        (["--shard", "1/2", "--shards", "3"], "leave out --shards"),
        (["--shard", "1/2", "--prepare"], "--prepare measures no shard"),
        (["--shards", "0"], "the first number goes from 1 to the second"),
        (["--engine", "spark"], "engine takes 'local' or 'ray', got 'spark'"),
        (["--workers", "2"], "are for --engine ray"),
        (["--engine", "ray", "--shard", "1/2"], "--engine ray measures all shards"),
        (["--subject", "nowhere"], "nowhere"),
        (["--n-seq", "1000"], "n_seq=1000 asked"),
        (["--hooks", "blocks.9.hook_resid_post"], "blocks.9.hook_resid_post"),
    ],
)
def test_what_is_wrong_is_one_line(command, more, message, capsys):
    assert main([*command, *more]) == 1
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.startswith("error: ") and printed.count("\n") == 1


def test_a_merge_that_cannot_be_is_one_line(folder, tmp_path, capsys):
    cases = [
        ([str(tmp_path / "none")], "there is no folder"),
        ([str(folder), "--record", str(tmp_path / "x.npz")], "--record is for one hook point"),
        ([str(folder), "--hooks", "blocks.7"], "no shard at blocks.7"),
    ]
    (tmp_path / "empty").mkdir()
    shutil.copy(folder / "plan.npz", tmp_path / "empty/plan.npz")
    cases.append(([str(tmp_path / "empty")], "has no shard"))
    for arguments, message in cases:
        assert main(["merge", *arguments]) == 1
        printed = capsys.readouterr().err
        assert message in printed
        assert printed.startswith("error: ") and printed.count("\n") == 1


def test_options_of_another_engine(folders, tmp_path):
    task = Task(str(tmp_path), str(folders["llama"]))
    with pytest.raises(ValueError, match="workers: only for engine='ray'"):
        measure_all(task, 2, workers=2)
