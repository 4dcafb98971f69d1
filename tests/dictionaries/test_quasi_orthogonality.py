"""Norms, the paper's number and the lower bound on coherence: by hand, and on random decoders."""

import math

import numpy as np
import pytest
import torch

from saecert.dictionaries.quantities import NORMS
from saecert.dictionaries.quasi_orthogonality import (
    coherence,
    eps_lbo,
    quasi_orthogonality,
    welch_limit,
)

SLANTED = torch.tensor([[1.0, 0.0], [1.2, 1.6], [0.0, 3.0]])
"""Lengths 1, 2, 3; cosines .6 (0 and 1), 0 (0 and 2), .8 (1 and 2)."""


def of_one(z, code, W_dec=SLANTED, b_dec=None):
    b_dec = torch.zeros(W_dec.shape[1]) if b_dec is None else b_dec
    found = quasi_orthogonality(torch.tensor([z]), torch.tensor([code]), W_dec, b_dec)
    return {name: values.item() for name, values in found.items()}


def test_a_token_by_hand():
    """Code (3, 2, 0): z_hat = (5.4, 3.2), f~ = (3, 4), cosine .6: 39.4 = 25 + 2 * 12 * .6."""
    found = of_one([5.0, 3.0], [3.0, 2.0, 0.0])
    assert list(found) == list(NORMS)
    assert found["norm_z"] == pytest.approx(math.sqrt(34))
    assert found["norm_f"] == pytest.approx(5)
    assert found["norm_z_hat"] == pytest.approx(math.sqrt(39.4))
    assert found["nmse"] == pytest.approx((0.16 + 0.04) / 34)
    assert found["eps_lbo"] == pytest.approx((34 - 25) / (2 * 25))
    # two atoms: the bound is their cosine
    assert found["eps_identity"] == pytest.approx(0.6)


def test_the_bias_is_an_atom_that_is_always_active():
    """One latent of length 2 along (.6, .8) and a bias of length 4 along (1, 0): cosine .6."""
    found = of_one([4.0, 4.0], [0.0, 1.0, 0.0], b_dec=torch.tensor([4.0, 0.0]))
    assert found["norm_f"] == pytest.approx(math.sqrt(4 + 16))
    assert found["norm_z_hat"] == pytest.approx(math.sqrt(5.2**2 + 1.6**2))
    assert found["eps_identity"] == pytest.approx(0.6)


def test_three_atoms_say_a_mean_of_cosines_less_than_the_largest():
    """Code with f~ = (1, 1, 1): the sum of the three cosines over three."""
    found = of_one([1.0, 1.0], [1.0, 0.5, 1 / 3])
    assert found["eps_identity"] == pytest.approx((0.6 + 0.0 + 0.8) / 3)
    assert found["eps_identity"] < coherence(SLANTED).value


def test_fewer_than_two_active_atoms_say_nothing():
    alone = of_one([1.0, 1.0], [0.0, 2.0, 0.0])
    assert alone["eps_identity"] == 0
    silent = of_one([1.0, 1.0], [0.0, 0.0, 0.0])
    assert silent["eps_identity"] == 0 and silent["norm_f"] == 0
    assert silent["eps_lbo"] == math.inf
    assert silent["nmse"] == 1


@pytest.mark.parametrize("small", [1e-3, 1e-8, 1e-12, 1e-16, 1e-200])
def test_rounding_is_not_taken_for_an_angle(small):
    """Orthogonal atoms, one far more active than the others: nothing, and no division by zero."""
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64)).Q
    codes = torch.zeros(400, 8, dtype=torch.float64)
    codes[:, 0] = torch.rand(400, dtype=torch.float64) + 0.5
    codes[:, 1:3] = small
    found = quasi_orthogonality(codes @ basis, codes, basis, torch.zeros(8))
    assert (found["eps_identity"] <= coherence(basis).value).all()


def test_one_active_latent_of_single_precision_and_a_tiny_bias():
    torch.manual_seed(1)
    atoms = torch.nn.functional.normalize(torch.randn(40, 8), dim=1)
    codes = torch.diag(torch.rand(40) + 0.5)
    for size in (1e-6, 1e-12, 1e-30, 1e-44):
        bias = size * torch.randn(8)
        found = quasi_orthogonality(codes @ atoms, codes, atoms, bias)["eps_identity"]
        assert found.isfinite().all()
        assert (found <= coherence(atoms, bias).value).all()


def test_what_is_told_is_told_to_nearly_all_digits():
    """Parallel atoms, one of them nearly silent: cosine 1, never more."""
    code = [1.0, 1e-6, 0.0]
    same = torch.tensor([[0.6, 0.8], [0.6, 0.8], [0.8, -0.6]])
    found = of_one([0.6, 0.8], code, same)["eps_identity"]
    assert 1 - 1e-6 < found <= 1


def test_orthogonal_atoms_have_the_norm_of_what_they_decode_to():
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64)).Q
    z = torch.randn(20, 8, dtype=torch.float64)
    found = quasi_orthogonality(z, z @ basis.T, basis, torch.zeros(8))
    torch.testing.assert_close(found["norm_f"], found["norm_z"])
    assert found["eps_lbo"].max() < 1e-12
    assert found["eps_identity"].max() < 1e-12


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("signed", [False, True], ids=["nonnegative", "signed"])
def test_the_lower_bound_is_below_the_truth_at_every_token(seed, signed):
    torch.manual_seed(seed)
    d_in, d_sae = 6 + 3 * seed, 40
    atoms = torch.randn(d_sae, d_in) * torch.rand(d_sae, 1).add(0.1)
    bias = torch.randn(d_in) * (seed % 2)
    codes = torch.randn(300, d_sae)
    codes = codes if signed else codes.relu()
    codes = codes * (torch.rand(300, d_sae) < torch.rand(300, 1) * 0.5)
    z = torch.randn(300, d_in)
    found = quasi_orthogonality(z, codes, atoms, bias)
    truth = coherence(atoms, bias).value
    assert found["eps_identity"].max().item() <= truth + 1e-9
    assert found["eps_identity"].max().item() > 0.2 * truth
    assert truth >= welch_limit(d_sae + seed % 2, d_in)


def test_it_is_larger_than_with_all_latents_by_the_factor_that_is_promised():
    """With z_hat for z, (h - 1) / (k - 1) or more, k being the active atoms."""
    torch.manual_seed(1)
    atoms = torch.randn(30, 12)
    codes = torch.rand(200, 30) * (torch.rand(200, 30) < 0.2)
    codes = codes[(codes != 0).sum(dim=1) > 1]
    found = quasi_orthogonality(codes @ atoms, codes, atoms, torch.zeros(12))
    assert found["nmse"].max() < 1e-10
    active = (codes != 0).sum(dim=1)
    factor = 29 / (active - 1)
    assert (found["eps_identity"] >= factor * found["eps_lbo"] * (1 - 1e-9)).all()
    # equal lengths reach it
    even = quasi_orthogonality(
        torch.ones(1, 2), torch.ones(1, 3), torch.eye(3)[:, :2] + 0.5, torch.zeros(2)
    )
    assert even["eps_identity"].item() >= even["eps_lbo"].item()


def test_with_z_instead_of_its_reconstruction_it_would_be_no_lower_bound():
    """Two orthogonal atoms, a reconstruction error across: any norm of z is possible."""
    found = of_one([3.0, 4.0], [1.0, 0.0, 1.0])
    assert found["eps_identity"] <= coherence(SLANTED).value
    f = found["norm_f"]
    mutant = abs(found["norm_z"] ** 2 - f**2) / ((1 + 3) ** 2 - f**2)
    assert mutant > coherence(SLANTED).value


def test_folding_decoder_norms_changes_nothing_of_what_is_said():
    torch.manual_seed(2)
    atoms = torch.randn(20, 5)
    codes = torch.rand(40, 20)
    z = torch.randn(40, 5)
    bias = torch.randn(5)
    lengths = atoms.norm(dim=1)
    found = quasi_orthogonality(z, codes, atoms, bias)
    folded = quasi_orthogonality(z, codes * lengths, atoms / lengths[:, None], bias)
    for name in NORMS:
        torch.testing.assert_close(found[name], folded[name], rtol=1e-5, atol=1e-9)


def test_leading_axes_and_chunks_do_not_matter(monkeypatch):
    from saecert.dictionaries import quasi_orthogonality as module

    torch.manual_seed(3)
    atoms, bias = torch.randn(9, 4), torch.randn(4)
    z, codes = torch.randn(3, 5, 4), torch.rand(3, 5, 9)
    found = quasi_orthogonality(z, codes, atoms, bias)
    monkeypatch.setattr(module, "TOKENS_AT_ONCE", 4)
    again = quasi_orthogonality(z.flatten(0, 1), codes.flatten(0, 1), atoms, bias)
    for name in NORMS:
        assert found[name].shape == (3, 5)
        torch.testing.assert_close(found[name].flatten(), again[name])


@pytest.mark.parametrize("chunk", [1, 7, 16, 100])
def test_coherence_of_every_chunk_is_that_of_the_whole_matrix(chunk):
    torch.manual_seed(4)
    atoms = torch.randn(33, 10, dtype=torch.float64)
    unit = atoms / atoms.norm(dim=1, keepdim=True)
    cosines = (unit @ unit.T).abs().fill_diagonal_(0)
    found = coherence(atoms, chunk=chunk)
    assert found.value == pytest.approx(cosines.max().item(), abs=1e-14)
    assert cosines[found.pair].item() == pytest.approx(found.value, abs=1e-14)
    assert found.pair[0] < found.pair[1]


def test_coherence_counts_opposite_atoms_and_the_bias():
    atoms = torch.eye(3)
    assert coherence(atoms).value == 0
    assert coherence(torch.cat([atoms, -2 * atoms[:1]])) == (1.0, (0, 3))
    assert coherence(atoms, torch.tensor([0.0, 3.0, 4.0])) == (0.8, (2, 3))
    assert coherence(atoms, torch.zeros(3)).value == 0


def test_welch_limit_is_reached_by_three_atoms_in_the_plane():
    turns = torch.arange(3, dtype=torch.float64) * 2 * math.pi / 3
    atoms = torch.stack([turns.cos(), turns.sin()], dim=1)
    assert welch_limit(3, 2) == pytest.approx(0.5)
    assert coherence(atoms).value == pytest.approx(0.5)
    assert welch_limit(3, 3) == 0


def test_the_papers_number_takes_numbers_arrays_and_tensors():
    assert eps_lbo(3.0, 2.0, 6) == pytest.approx(0.25)
    z, f = np.array([3.0, 1.0]), np.array([2.0, 0.0])
    assert eps_lbo(z, f, 6).tolist() == [0.25, math.inf]
    assert torch.is_tensor(eps_lbo(torch.tensor(3.0), torch.tensor(2.0), 6))


@pytest.mark.parametrize(
    ("z", "f", "d_sae", "says"),
    [
        ([1.0, 2.0], [1.0], 5, "different tokens"),
        ([0.0], [1.0], 5, "above 0"),
        ([1.0], [-1.0], 5, "above 0"),
        ([math.nan], [1.0], 5, "finite"),
        ([1.0], [1.0], 1, "needs two"),
    ],
    ids=["shapes", "zero activation", "negative norm", "nan", "one latent"],
)
def test_norms_that_cannot_be(z, f, d_sae, says):
    with pytest.raises(ValueError, match=says):
        eps_lbo(np.array(z), np.array(f), d_sae)


def bad(**changes):
    good = {"acts": torch.ones(2, 3), "latents": torch.ones(2, 4), "W_dec": torch.ones(4, 3)}
    good |= {"b_dec": torch.zeros(3), **changes}
    return quasi_orthogonality(**good)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"acts": torch.tensor([[1.0, 1, 1], [0, 0, 0]])}, "activation of token 1 is zero"),
        ({"W_dec": torch.diag(torch.tensor([1.0, 1, 1, 0]))[:, :3]}, "atom 3 is active and has"),
        ({"acts": torch.ones(2, 5)}, "acts has shape"),
        ({"latents": torch.ones(3, 4)}, "belongs to the other"),
        ({"b_dec": torch.zeros(2)}, "b_dec has shape"),
        ({"latents": torch.full((2, 4), math.nan)}, "must be finite"),
        ({"latents": torch.ones(2, 1), "W_dec": torch.ones(1, 3)}, "needs two of them"),
    ],
    ids=["zero activation", "zero atom", "width", "tokens", "bias", "nan", "one latent"],
)
def test_tokens_that_cannot_be(changes, says):
    with pytest.raises(ValueError, match=says):
        bad(**changes)


def test_a_zero_atom_that_is_never_active_does_no_harm_but_has_no_angle():
    atoms = torch.diag(torch.tensor([1.0, 1, 1, 0]))[:, :3]
    codes = torch.tensor([[1.0, 1, 1, 0], [1, 0, 0, 0]])
    assert bad(W_dec=atoms, latents=codes)["eps_identity"].max() == 0
    with pytest.raises(ValueError, match="atom 3 has length 0"):
        coherence(atoms)
    with pytest.raises(ValueError, match="two atoms or more"):
        coherence(torch.ones(1, 3))
    with pytest.raises(ValueError, match="chunk=0"):
        coherence(torch.eye(3), chunk=0)
    with pytest.raises(ValueError, match="two atoms or more in"):
        welch_limit(1, 3)
