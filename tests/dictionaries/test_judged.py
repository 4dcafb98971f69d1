"""SAEs judged on a tiny model and on the shipped one: names, ranges, floors, refusals."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import D_MODEL, identity_sae, make_sae

from saecert import load_corpus
from saecert.dictionaries import detection
from saecert.dictionaries.judged import codes_of, dead, judged, share
from saecert.dictionaries.quantities import (
    CLASSES_OF_TOKENS,
    DETECTION,
    JUDGED_PARTS,
    LABELS_OF_SEQUENCES,
    LABELS_OF_TOKENS,
    OTHER_LATENT,
    RANDOM,
    SPARSE,
    edit_name,
    probe_name,
)

HOOK = "blocks.0.hook_resid_post"


@pytest.fixture(scope="module")
def shared(spelled, corpora):
    groups = {split: ("a", "b") * len(corpora[split]) for split in corpora}
    labelled = {
        split: replace(corpus, groups=groups[split][: len(corpus)])
        for split, corpus in corpora.items()
    }
    return share(spelled, HOOK, labelled["discovery"], labelled["certification"])


@pytest.fixture(scope="module")
def scores(shared):
    return judged(shared, make_sae(HOOK), n_latents=6)


def names_of_probes(labels):
    return {
        probe_name(k, label, floor) for k in SPARSE for label in labels for floor in ("", RANDOM)
    }


NAMES_OF_EDITS = {
    edit_name(part, name, floor)
    for part in JUDGED_PARTS
    for name in CLASSES_OF_TOKENS
    for floor in ("", RANDOM)
}


def test_scores_have_their_names_and_lie_between_0_and_1(scores, shared):
    # the text has no sections, no examples and no code
    probes = names_of_probes(("package", "identifier"))
    assert set(scores) == probes | NAMES_OF_EDITS | {DETECTION, OTHER_LATENT}
    for name, values in scores.items():
        assert values.dtype == np.float32 and values.ndim == 1 and len(values), name
        assert (values >= 0).all() and (values <= 1).all(), name
    n_seq = len(shared.sample.corpus)
    assert len(scores[probe_name(1, "package")]) == n_seq // 2
    n_pairs = len(shared.sample.contexts.tokens) // 2
    assert all(len(scores[name]) == n_pairs for name in NAMES_OF_EDITS)
    assert len(scores[DETECTION]) == 6


def test_the_same_again_is_the_same(scores, shared):
    again = judged(shared, make_sae(HOOK), n_latents=6)
    for name, values in scores.items():
        np.testing.assert_array_equal(values, again[name], err_msg=name)


def test_an_sae_without_active_latents_scores_one_half_everywhere(scores, shared):
    nothing = dead(make_sae(HOOK))
    assert not codes_of(nothing, shared.sample.acts).nnz
    floor = judged(shared, nothing, n_latents=6)
    assert set(floor) == set(scores)
    for name, values in floor.items():
        if name in NAMES_OF_EDITS:
            expected = float(name.startswith(JUDGED_PARTS[1]))
            np.testing.assert_allclose(values, expected, atol=1e-5, err_msg=name)
        else:
            np.testing.assert_array_equal(values, 0.5, err_msg=name)


def test_another_judge_takes_the_place_of_the_one_that_comes_along(shared):
    def never(firing, silent, asked):
        return np.zeros(len(asked.tokens), dtype=bool)

    found = judged(shared, make_sae(HOOK), judge=never, n_latents=6)
    np.testing.assert_array_equal(found[DETECTION], 0.5)
    assert isinstance(detection.TokenJudge()(*windows_of(shared)), np.ndarray)


def windows_of(shared):
    """Firing, silent and asked windows of the most frequent latent."""
    codes = codes_of(make_sae(HOOK), shared.discovery.acts).tocsc()
    firings = detection.Firings(shared.discovery.corpus.tokens, codes, shared.pieces)
    latent = int(np.argmax(firings.n_sequences()))
    silent = firings.silent(latent, 20, np.random.default_rng(0))
    return firings.strongest(latent), silent, silent


def test_codes_are_those_of_the_sae_position_by_position(shared):
    sae = identity_sae(HOOK)
    codes = codes_of(sae, shared.sample.acts)
    acts = shared.sample.acts.reshape(-1, D_MODEL)
    np.testing.assert_allclose(codes[:, :D_MODEL].toarray(), acts.clip(0), atol=1e-6)


def test_bad_requests_are_refused(spelled, corpora, shared):
    with pytest.raises(ValueError, match="too short to judge SAEs on: n_ctx of 14 or more"):
        share(spelled, HOOK, corpora["discovery"].cut(10), corpora["certification"])
    with pytest.raises(ValueError, match=r"no hook point 'blocks\.9"):
        share(spelled, "blocks.9.hook_resid_post", *corpora.values())
    with pytest.raises(ValueError, match="d_in=12, activations have width 16"):
        judged(shared, make_sae(HOOK, d_in=12))
    with pytest.raises(ValueError, match="5 latents asked of a dictionary of 4"):
        judged(shared, make_sae(HOOK, d_sae=4))


def test_text_with_labels_of_one_class_only_is_refused(shared):
    blank = {name: np.full_like(x, -1) for name, x in shared.sample.of_tokens.items()}
    same = {name: np.ones_like(x) for name, x in shared.sample.of_sequences.items()}
    without = replace(shared, sample=replace(shared.sample, of_tokens=blank, of_sequences=same))
    with pytest.raises(ValueError, match="labels of one class cannot be probed"):
        judged(without, make_sae(HOOK))


@pytest.mark.shared_cache
def test_the_shipped_sae_beats_random_latents_and_the_dead_sae(shipped):
    """On text of its own kind, by more than four standard errors of the paired differences."""
    texts = [
        load_corpus("docstrings", shipped, split=split, n_seq=100)
        for split in ("discovery", "certification")
    ]
    hook = "blocks.2.hook_resid_post"
    shared = share(shipped, hook, *texts)
    sae = shipped.sae_at(hook)
    trained, floor = (judged(shared, x, n_latents=16) for x in (sae, dead(sae)))
    assert set(trained) >= names_of_probes((*LABELS_OF_SEQUENCES, *LABELS_OF_TOKENS))

    def certainly_above(a, b):
        difference = (a - b).astype(np.float64)
        return difference.mean() > 4 * difference.std(ddof=1) / np.sqrt(len(difference))

    for k in SPARSE:
        best = trained[probe_name(k, "identifier")]
        assert certainly_above(best, trained[probe_name(k, "identifier", RANDOM)])
        assert certainly_above(best, floor[probe_name(k, "identifier")])
    assert certainly_above(trained[DETECTION], trained[OTHER_LATENT])
    for name in CLASSES_OF_TOKENS:
        both = [edit_name(part, name) for part in JUDGED_PARTS]
        edit = sum(trained[part] for part in both)
        assert certainly_above(edit, sum(floor[part] for part in both))
