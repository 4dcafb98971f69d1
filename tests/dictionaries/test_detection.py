"""Where latents fire, told from examples: planted rules of tokens, chance where there is none."""

import numpy as np
import pytest
from scipy import sparse

from saecert.dictionaries import detection
from saecert.dictionaries.detection import (
    Firings,
    TokenJudge,
    Windows,
    detected,
    detection_scores,
    drawn_latents,
)

V = 30
PIECES = [f" w{i}" for i in range(V)]


def text(seed, n_seq=150, n_ctx=40):
    """Random tokens, and latents: fires on token 3; on 5 after 7; at random; hardly ever."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(V, size=(n_seq, n_ctx)).astype(np.int32)
    tokens[:, 1::6] = 7
    tokens[:, 2::6] = np.where(rng.random(tokens[:, 2::6].shape) < 0.5, 5, tokens[:, 2::6])
    before = np.roll(tokens, 1, axis=1)
    fires = [tokens == 3, (tokens == 5) & (before == 7), rng.random(tokens.shape) < 0.1]
    rare = np.zeros_like(fires[0])
    rare[0, 20] = True
    strength = rng.uniform(1, 2, size=tokens.shape)
    columns = [(strength * fire).ravel() for fire in (*fires, rare)]
    return Firings(tokens, sparse.csc_array(np.stack(columns, axis=1)), PIECES)


@pytest.fixture(scope="module")
def texts():
    return text(0), text(1)


def test_rules_of_tokens_are_told_and_chance_is_not(texts):
    judge = TokenJudge()
    own = [detected(*texts, latent, other, judge, 0)[0] for latent, other in ((0, 1), (1, 0))]
    assert own[0] == 1.0  # its own token says it all
    assert own[1] > 0.9  # its own and the one before
    assert detected(*texts, 2, 0, judge, 0)[0] == pytest.approx(0.5, abs=0.2)  # 4 standard errors


def test_examples_of_another_latent_tell_nothing(texts):
    _, other = detected(*texts, 0, 2, TokenJudge(), 0)
    assert other == pytest.approx(0.5, abs=0.2)


def test_a_latent_that_is_silent_on_the_sample_scores_one_half(texts):
    silent = Firings(texts[1].tokens, sparse.csc_array(texts[1].codes.shape), PIECES)
    assert detected(texts[0], silent, 0, 1, TokenJudge(), 0) == (0.5, 0.5)


def test_any_judge_may_be_plugged_in_and_is_asked_of_both_kinds_equally(texts):
    asked = []

    def by_text(firing: Windows, silent: Windows, windows: Windows) -> np.ndarray:
        assert all(line.endswith(" w3") for line in firing.texts)
        assert not any(line.endswith(" w3") for line in silent.texts)
        asked.append(len(windows.tokens))
        return np.array([line.endswith(" w3") for line in windows.texts])

    scores = detection_scores(*texts, np.array([[0, 1], [0, 2]]), by_text, 0)
    np.testing.assert_array_equal(scores[:, 0], 1.0)
    assert asked == [4 * detection.N_ASKED] * 2
    never = detected(*texts, 0, 1, lambda firing, silent, new: np.zeros(len(new.tokens), bool), 0)
    assert never == (0.5, 0.5)


def test_windows_end_where_the_latent_fires_one_of_a_sequence_strongest_first(texts):
    strongest = texts[0].strongest(0)
    assert strongest.tokens.shape == (detection.N_STRONGEST, detection.WIDTH)
    assert (strongest.tokens[:, -1] == 3).all()
    sequences, positions, values = texts[0].at(0)
    assert positions.min() >= detection.WIDTH - 1
    best = np.argmax(values)
    window = texts[0].windows(sequences[[best]], positions[[best]])
    np.testing.assert_array_equal(strongest.tokens[0], window.tokens[0])
    silent = texts[0].silent(0, 200, np.random.default_rng(0))
    assert len(silent.tokens) == 200 and (silent.tokens[:, -1] != 3).all()


def test_latents_are_drawn_among_frequent_ones_each_with_another(texts):
    drawn = drawn_latents(texts[0], 200, seed=0)
    assert drawn.shape == (200, 2) and set(drawn.ravel()) == {0, 1, 2}
    assert (drawn[:, 0] != drawn[:, 1]).all()
    np.testing.assert_array_equal(drawn, drawn_latents(texts[0], 200, seed=0))
    few = Firings(texts[0].tokens, texts[0].codes[:, [0, 3]].tocsc(), PIECES)
    assert drawn_latents(few, 200, seed=0).shape == (0, 2)
