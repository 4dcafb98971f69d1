"""The shipped SAE judged: names, ranges, floors, refusals; it beats chance where it should."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import identity_sae, make_sae

from saecert import load_corpus
from saecert.dictionaries.judged import dead, judged, share
from saecert.dictionaries.probed import codes_of, package_scores
from saecert.dictionaries.quantities import (
    CLASSES_OF_TOKENS,
    DETECTION,
    JUDGED_PARTS,
    LABELS_OF_SEQUENCES,
    LABELS_OF_TOKENS,
    OTHER_LATENT,
    RANDOM_LATENTS,
    SPARSE,
    edit_name,
    package_label,
    packages_probed,
    probe_name,
)

pytestmark = pytest.mark.shared_cache

HOOK = "blocks.4.hook_resid_post"
N_LATENTS = 12


@pytest.fixture(scope="module")
def texts(shipped):
    """Discovery and certification documents."""
    splits = ("discovery", "certification")
    return [load_corpus("docstrings", shipped, split=split, n_seq=100) for split in splits]


@pytest.fixture(scope="module")
def shared(shipped, texts):
    return share(shipped, HOOK, *texts)


@pytest.fixture(scope="module")
def scores(shipped, shared):
    return judged(shared, shipped.sae_at(HOOK), n_latents=N_LATENTS)


@pytest.fixture(scope="module")
def floor(shipped, shared):
    return judged(shared, dead(shipped.sae_at(HOOK)), n_latents=N_LATENTS)


def names_of_probes(labels):
    return {
        probe_name(k, label, floor)
        for k in SPARSE
        for label in labels
        for floor in ("", RANDOM_LATENTS)
    }


NAMES_OF_EDITS = {
    edit_name(part, name, floor)
    for part in JUDGED_PARTS
    for name in CLASSES_OF_TOKENS
    for floor in ("", RANDOM_LATENTS)
}


def test_scores_have_their_names_and_lie_between_0_and_1(scores, shared):
    probes = names_of_probes((*LABELS_OF_SEQUENCES, *LABELS_OF_TOKENS))
    assert set(scores) == probes | NAMES_OF_EDITS | {DETECTION, OTHER_LATENT}
    for name, values in scores.items():
        assert values.dtype == np.float32 and values.ndim == 1 and len(values), name
        assert (values >= 0).all() and (values <= 1).all(), name
    with_package = shared.sample.of_sequences["package"].sum()
    assert len(scores[probe_name(1, "package")]) == with_package < 50
    n_pairs = len(shared.sample.contexts.tokens) // 2
    assert 40 < n_pairs <= 50
    assert all(len(scores[name]) == n_pairs for name in NAMES_OF_EDITS)
    assert len(scores[DETECTION]) == N_LATENTS


def test_another_judge_changes_detection_and_nothing_else(scores, shipped, shared):
    def never(firing, silent, asked):
        return np.zeros(len(asked.tokens), dtype=bool)

    again = judged(shared, shipped.sae_at(HOOK), judge=never, n_latents=N_LATENTS)
    np.testing.assert_array_equal(again.pop(DETECTION), 0.5)
    np.testing.assert_array_equal(again.pop(OTHER_LATENT), 0.5)
    for name, values in again.items():
        np.testing.assert_array_equal(values, scores[name], err_msg=name)


def test_an_sae_without_active_latents_changes_nothing_and_guesses(scores, floor, shipped, shared):
    assert not codes_of(dead(shipped.sae_at(HOOK)), shared.sample.acts).nnz
    assert set(floor) == set(scores)
    for name, values in floor.items():
        if name in NAMES_OF_EDITS:
            expected = float(name.startswith(JUDGED_PARTS[1]))
            np.testing.assert_allclose(values, expected, atol=1e-4, err_msg=name)
        else:
            np.testing.assert_array_equal(values, 0.5, err_msg=name)


@pytest.fixture(scope="module")
def unedited(shipped, texts):
    return share(shipped, HOOK, *(text.take(40) for text in texts), edits=False)


def test_without_edits_the_rest_is_judged_on_the_same_activations(shipped, shared, unedited):
    sae = shipped.sae_at(HOOK)
    np.testing.assert_allclose(unedited.sample.acts, shared.sample.acts[:40], atol=1e-4)
    found = judged(unedited, sae, n_latents=N_LATENTS)
    probes = names_of_probes((*LABELS_OF_SEQUENCES, *LABELS_OF_TOKENS))
    assert set(found) == probes | {DETECTION, OTHER_LATENT}


def test_each_package_is_probed_against_the_others(shipped, shared):
    sae = shipped.sae_at(HOOK)
    found = package_scores((shared.discovery, shared.sample), sae, shared.seed)
    labels = packages_probed(found, 1)
    groups = shared.sample.corpus.groups
    assert 1 < len(labels) < len(set(groups))
    assert set(found) == names_of_probes(labels)
    for label in labels:
        package = label.removeprefix(package_label(""))
        assert len(found[probe_name(5, label)]) == min(groups.count(package), 100)
    five, floor = (
        np.mean([found[probe_name(5, label, word)].mean() for label in labels])
        for word in ("", RANDOM_LATENTS)
    )
    assert five > floor + 0.05
    for values in package_scores(
        (shared.discovery, shared.sample), dead(sae), shared.seed
    ).values():
        np.testing.assert_array_equal(values, 0.5)


def certainly_above(a, b):
    """Whether the mean of paired differences is more than four standard errors above 0."""
    difference = (a - b).astype(np.float64)
    return difference.mean() > 4 * difference.std(ddof=1) / np.sqrt(len(difference))


def test_the_shipped_sae_beats_random_latents_and_the_dead_sae(scores, floor):
    for name in (probe_name(k, label) for k in SPARSE for label in ("parameters", "identifier")):
        assert certainly_above(scores[name], scores[f"{name}, {RANDOM_LATENTS}"]), name
        assert certainly_above(scores[name], floor[name]), name
    assert certainly_above(scores[DETECTION], scores[OTHER_LATENT])


def test_swaps_move_what_they_should_more_than_the_rest(scores, floor):
    names = [edit_name(part, name) for part in JUDGED_PARTS for name in CLASSES_OF_TOKENS]
    edits, none = (sum(x[name] for name in names) / len(names) for x in (scores, floor))
    difference = (edits - none).astype(np.float64)
    assert difference.mean() > 2 * difference.std(ddof=1) / np.sqrt(len(difference))
    for name in CLASSES_OF_TOKENS:
        assert scores[edit_name("cause", name)].mean() > 0.1


def test_codes_are_those_of_the_sae_position_by_position(shared):
    d_in = shared.sample.acts.shape[-1]
    codes = codes_of(identity_sae(HOOK, d_in), shared.sample.acts[:5])
    acts = shared.sample.acts[:5].reshape(-1, d_in)
    np.testing.assert_allclose(codes[:, :d_in].toarray(), acts.clip(0), rtol=1e-6)


def test_bad_requests_are_refused(shipped, texts, shared):
    with pytest.raises(ValueError, match="too short to judge SAEs on: n_ctx of 14 or more"):
        share(shipped, HOOK, texts[0].cut(10), texts[1])
    with pytest.raises(ValueError, match=r"no hook point 'blocks\.9"):
        share(shipped, "blocks.9.hook_resid_post", *texts)
    with pytest.raises(ValueError, match="d_in=12, activations have width 192"):
        judged(shared, make_sae(HOOK, d_in=12))
    with pytest.raises(ValueError, match="5 latents asked of a dictionary of 4"):
        judged(shared, make_sae(HOOK, d_in=192, d_sae=4))


def test_text_with_labels_of_one_class_only_is_refused(shipped, shared):
    blank = {name: np.full_like(x, -1) for name, x in shared.sample.of_tokens.items()}
    same = {name: np.ones_like(x) for name, x in shared.sample.of_sequences.items()}
    without = replace(shared, sample=replace(shared.sample, of_tokens=blank, of_sequences=same))
    with pytest.raises(ValueError, match="labels of one class cannot be probed"):
        judged(without, shipped.sae_at(HOOK))
