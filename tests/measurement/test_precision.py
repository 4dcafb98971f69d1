"""bfloat16 on a CPU: near float32, named in the record, and float32 arithmetic where it is slow."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from saecert import certify, collect, load_subject
from saecert.certificates.checks import CHECKS
from saecert.certificates.precision import precision_table, precision_text
from saecert.certificates.summary import summary
from saecert.measurement.identity import identity
from saecert.measurement.scoring import top_1
from saecert.subjects import precision
from saecert.subjects.precision import HALF, ROUNDED, chosen, multiplies_bfloat16

HOOK = "blocks.0.hook_resid_post"
CONTROLS = (
    "pca(4)",
    "noise",
    "shuffled_latents",
    "shuffled_positions",
    "donor_codes(n=4)",
    "random_decoder(match_norm=True)",
    "random_encoder(4)",
    "pool(7, rank='attribution')",
)


def set_native(monkeypatch, native):
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda device: native)


@pytest.fixture(params=["llama", "gpt2"])
def family(request):
    return request.param


@pytest.fixture
def measure(folders, family, corpora):
    def measured(dtype):
        subject = load_subject(folders[family], dtype=dtype)
        samples = {"corpus": corpora["certification"], "discovery": corpora["discovery"]}
        settings = {"extra": CONTROLS, "progress": False, "allow_bad_sae": True}
        return subject, collect(subject, hook_name=HOOK, **samples, **settings)

    return measured


@pytest.mark.parametrize("native", [True, False])
def test_losses_are_near_float32_and_certify(measure, monkeypatch, native):
    set_native(monkeypatch, native)
    _, exact = measure("float32")
    subject, half = measure("bfloat16")
    table = precision_table(exact, half)
    assert set(table.index) == set(half.loss) and len(table) > 12
    assert 0 < table.largest["clean"] < 0.1
    assert (table.difference.abs() < 0.1).drop(["unigram", "uniform"], errors="ignore").all()
    assert "bfloat16" not in exact.provenance["processing"]
    says = HALF if native else ROUNDED
    assert half.provenance["processing"].endswith(says) and subject.processing.endswith(says)
    assert half.provenance["dtype"] == ("bfloat16" if native else "float32")
    cert = certify(half, pool=half.pool_sizes[0], eps=(), allow=tuple(CHECKS))
    assert "bfloat16" in summary(cert) and "bfloat16" in cert.provenance["processing"]


def test_number_types_of_model_and_saes(folders, family, monkeypatch):
    set_native(monkeypatch, True)
    subject = load_subject(folders[family], dtype="bfloat16")
    weights = subject.model.original_model.state_dict().values()
    assert {tensor.dtype for tensor in weights if tensor.is_floating_point()} == {torch.bfloat16}
    assert subject.sae_at(HOOK).W_dec.dtype == subject.sae_at(HOOK).dtype == torch.float32


def test_the_fallback_has_the_weights_of_bfloat16(folders, family, corpora, monkeypatch):
    set_native(monkeypatch, True)
    half = load_subject(folders[family], dtype=torch.bfloat16)
    set_native(monkeypatch, False)
    rounded = load_subject(folders[family], dtype="bfloat16")
    exact = load_subject(folders[family])
    weights = rounded.model.original_model.state_dict()
    for name, tensor in half.model.original_model.state_dict().items():
        assert weights[name].dtype == torch.float32
        torch.testing.assert_close(weights[name], tensor.float(), atol=0, rtol=0)
    keys = {identity(each, corpora["discovery"]) for each in (half, rounded, exact)}
    assert len(keys) == 3, "three models, kept apart"


def test_instructions_decide(monkeypatch):
    cpu = torch.device("cpu")
    for present, native in (({}, False), ({"avx512_bf16": True}, True), ({"amx_bf16": True}, True)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=present: found)
        assert multiplies_bfloat16(cpu) == native
        assert chosen("bfloat16", "cpu", torch.float32).rounded != native
    assert multiplies_bfloat16(torch.device("cuda")), "a GPU is not asked"
    assert chosen(None, "cpu", torch.bfloat16).saes == torch.bfloat16, "as published"
    for wrong in ("half a float", "int32", "no_grad", torch.int8):
        with pytest.raises(ValueError, match="no number type"):
            chosen(wrong, "cpu", torch.float32)


@pytest.mark.parametrize("width", [1, 3, 255, 256, 257, 600])
def test_top_1_is_argmax(width):
    generator = torch.Generator().manual_seed(0)
    ties = torch.randn(40, width, generator=generator).round()
    ties[3, width // 2] = float("nan")
    ties[4] = float("-inf")
    assert torch.equal(top_1(ties), ties.argmax(dim=1))


def test_the_table_reads_differences_and_their_limits(subject, corpora):
    exact = collect(subject, corpora["certification"].take(8), progress=False)
    shifted = {name: rows + 0.25 for name, rows in exact.loss.items()}
    table = precision_table(exact, replace(exact, loss=shifted))
    np.testing.assert_allclose(table.difference, 0.25)
    np.testing.assert_allclose(table.largest, 0.25)
    assert (table.lower < 0.25).all() and (table.upper > 0.25).all()
    assert "+0.2500" in precision_text(table) and "predictor" in precision_text(table)
    with pytest.raises(ValueError, match="different sequences"):
        precision_table(exact, replace(exact, ids=exact.ids[::-1].copy()))
    with pytest.raises(ValueError, match="delta"):
        precision_table(exact, exact, delta=1.0)
