"""The loop measures each sequence once, whatever the batching, and loses nothing when it stops."""

import os
import warnings
from functools import partial

import numpy as np
import pytest
import torch

from saecert.measurement import circumstances, loop
from saecert.measurement.loop import Batch, Part, Quantity, Total, measure_parts, run
from saecert.storage import cache_dir
from saecert.subjects.forward import native_acts_at

FIRST = "blocks.0.hook_resid_post"
SECOND = "blocks.1.hook_resid_post"


def norms(seen=None, fail_at=0):
    """Mean norm of each sequence's activations and their sum; writes down what it is called
    with."""
    seen = [] if seen is None else seen

    def measure(subject, batch: Batch, hook_names):
        seen.append((batch.start, len(batch.tokens), tuple(hook_names)))
        if len(seen) == fail_at:
            raise KeyboardInterrupt
        acts = native_acts_at(subject.model, batch.tokens, hook_names)
        counted = {name: acts[name][:, batch.first :].double() for name in hook_names}
        return {
            name: {"norm": x.norm(dim=-1).mean(dim=1), "sum": Total(x.sum(dim=(0, 1)))}
            for name, x in counted.items()
        }

    return Quantity("norm", "1", measure, (FIRST, SECOND))


@pytest.fixture
def sample(corpora):
    return corpora["certification"].take(40)


def test_rows_and_totals_are_those_of_a_plain_computation(subject, sample):
    arrays = run(subject, sample, norms(), batch_size=7, progress=False)
    tokens = torch.from_numpy(sample.tokens.astype(np.int64))
    acts = native_acts_at(subject.model, tokens, [FIRST, SECOND])
    for name in (FIRST, SECOND):
        plain = acts[name][:, 1:].double()
        np.testing.assert_allclose(arrays[name]["norm"], plain.norm(dim=-1).mean(dim=1), rtol=1e-5)
        np.testing.assert_allclose(arrays[name]["sum"], plain.sum(dim=(0, 1)), rtol=1e-4, atol=1e-4)


def test_an_interrupted_run_goes_on_and_a_finished_one_returns_at_once(subject, sample):
    seen = []
    with pytest.raises(KeyboardInterrupt):
        run(subject, sample, norms(seen, fail_at=3), batch_size=10, progress=False)
    resumed = run(subject, sample, norms(seen), batch_size=10, progress=False)
    both = (FIRST, SECOND)
    assert seen[3:] == [(20, 10, both), (30, 10, both)]
    run(subject, sample, norms(seen), batch_size=10, progress=False)
    assert len(seen) == 5
    fresh = run(subject, sample, Quantity("again", "1", norms().measure, both), batch_size=10)
    for name in both:
        np.testing.assert_array_equal(resumed[name]["sum"], fresh[name]["sum"])
        np.testing.assert_array_equal(resumed[name]["norm"], fresh[name]["norm"])


def test_hook_points_that_are_not_equally_far_each_go_on_from_where_they_were(subject, sample):
    seen = []
    whole = run(subject, sample, Quantity("other", "1", norms().measure, (FIRST, SECOND)))
    alone = Quantity("norm", "1", norms(seen, fail_at=2).measure, (SECOND,))
    with pytest.raises(KeyboardInterrupt):
        run(subject, sample, alone, batch_size=16, progress=False)
    seen.clear()
    arrays = run(subject, sample, norms(seen), batch_size=10, progress=False)
    assert seen[:2] == [(0, 10, (FIRST,)), (10, 6, (FIRST,))]
    assert all(names == (FIRST, SECOND) for _, _, names in seen[2:])
    for name in (FIRST, SECOND):
        np.testing.assert_allclose(arrays[name]["sum"], whole[name]["sum"], rtol=1e-6)


def test_a_checkpoint_survives_a_killed_process(subject, sample, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr(loop, "CHECKPOINT_SHARE", 0)
    seen = []
    monkeypatch.setattr(loop.Measurement, "save", _save_once(loop.Measurement.save))
    with pytest.raises(KeyboardInterrupt):
        run(subject, sample, norms(seen, fail_at=3), batch_size=10, progress=False)
    monkeypatch.undo()
    assert seen[-1][0] == 20


def _save_once(save):
    """Saves at checkpoints, and not at the end, as a killed process would."""

    def saving(measurement):
        if measurement.done in (10, 20):
            save(measurement)

    return saving


def test_a_batch_that_does_not_fit_is_halved(subject, sample):
    sizes = []

    def measure(subject, batch, hook_names):
        sizes.append(len(batch.tokens))
        if len(batch.tokens) > 3:
            raise torch.OutOfMemoryError("out of memory")
        return {FIRST: {"start": np.arange(batch.start, batch.start + len(batch.tokens))}}

    arrays = run(subject, sample, Quantity("heavy", "1", measure, (FIRST,)), batch_size=8)
    assert sizes[:3] == [8, 4, 2] and set(sizes[3:]) == {2}
    np.testing.assert_array_equal(arrays[FIRST]["start"], np.arange(40))


def test_not_one_sequence_that_fits_is_an_error(subject, sample):
    def measure(subject, batch, hook_names):
        raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(MemoryError, match="not one sequence fits"):
        run(subject, sample, Quantity("heavier", "", measure, (FIRST,)), progress=False)


def _truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _drop_an_array(path):
    with np.load(path) as archive:
        arrays = dict(archive)
    del arrays["facts"]
    np.savez(path, **arrays)


@pytest.mark.parametrize(
    "damage",
    [_truncate, _drop_an_array, lambda path: path.write_bytes(b""), lambda p: p.write_text("{}")],
)
def test_a_damaged_file_is_named_and_measured_again(subject, sample, damage):
    whole = run(subject, sample, norms(), progress=False)
    path = next(cache_dir().glob("norm-*.npz"))
    damage(path)
    with pytest.warns(UserWarning, match=path.name):
        again = run(subject, sample, norms(), progress=False)
    for name in (FIRST, SECOND):
        np.testing.assert_array_equal(again[name]["norm"], whole[name]["norm"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(subject, sample, norms(), progress=False)


def test_circumstances_are_those_of_the_measurement_not_of_the_call(subject, sample, monkeypatch):
    part = Part(FIRST, "norm", "1")

    def measure(subject, batch, todo):
        values = norms().measure(subject, batch, [part.hook_name for part in todo])
        return {part: values[part.hook_name] for part in todo}

    def measured():
        return measure_parts(subject, sample, [part], measure, title="norm")[part].measured

    first = measured()
    assert set(first) == {"versions", "machine", "date"}
    assert set(first["versions"]) == set(circumstances.LIBRARIES)
    monkeypatch.setattr(circumstances, "_versions", lambda: (("torch", "99"),))
    assert measured() == first


def test_a_function_with_values_of_its_own_needs_a_key():
    size = 3

    def closes_over(subject, batch, hook_names):
        return {FIRST: {"size": np.full(len(batch.tokens), size)}}

    def plain(subject, batch, hook_names):
        return {FIRST: {"size": np.full(len(batch.tokens), 3)}}

    for measure in (closes_over, partial(plain), norms):
        Quantity("size", "3", measure, (FIRST,))
    Quantity("size", "", plain, (FIRST,))
    Quantity("size", "", torch.no_grad()(plain), (FIRST,))

    def by_default(subject, batch, hook_names, size=3):
        return {FIRST: {"size": np.full(len(batch.tokens), size)}}

    for measure in (closes_over, torch.no_grad()(closes_over), by_default, partial(plain)):
        with pytest.raises(ValueError, match="'size' has values of its own.* give it a key"):
            Quantity("size", "", measure, (FIRST,))


def test_rows_of_another_number_are_refused(subject, sample):
    def measure(subject, batch, hook_names):
        return {FIRST: {"one": np.zeros(1)}}

    with pytest.raises(ValueError, match="'one' has 1 rows for 16 sequences"):
        run(subject, sample, Quantity("one", "", measure, (FIRST,)), progress=False)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_has_at_least_one_sequence(subject, sample, batch_size):
    with pytest.raises(ValueError, match=f"batch_size must be at least 1, got {batch_size}"):
        run(subject, sample, norms(), batch_size=batch_size)
    assert not os.listdir(cache_dir())
