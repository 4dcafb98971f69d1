"""The paper's models from the hub, through the real downloading and loading code: a server on this
machine is the hub."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from conftest import D_MODEL, identity_sae, make_model
from huggingface_hub import constants
from safetensors.torch import save_file

from saecert import load_subject
from saecert.subjects.hub import fetch
from saecert.subjects.registry import PAPER, locate
from saecert.subjects.subject import CENTERED, UNPROCESSED

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PRE, POST = "blocks.1.hook_resid_pre", "blocks.1.hook_resid_post"


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's interface as huggingface_hub uses to download: information, listing and
    files of repositories."""

    repos, gated, asked = {}, set(), []
    protocol_version = "HTTP/1.1"

    def answer(self, status: int, body: bytes = b"{}", **headers: str) -> None:
        self.send_response(status)
        for key, value in {
            "Content-Length": str(len(body)),
            "Content-Type": "application/json",
            **headers,
        }.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].removeprefix("/api/models").strip("/").split("/")
        repo, kind, revision, *inside = ["/".join(path[:2]), *path[2:], "", ""][: len(path) + 1]
        if repo not in self.repos:
            return self.answer(404, X_Error_Code="RepoNotFound")
        if revision not in ("main", COMMIT, ""):
            return self.answer(404, X_Error_Code="RevisionNotFound")
        files = {
            file.relative_to(self.repos[repo]).as_posix(): file
            for file in self.repos[repo].rglob("*")
            if file.is_file()
        }
        if kind == "tree":
            listing = [
                {"type": "file", "path": name, "size": file.stat().st_size, "oid": name}
                for name, file in files.items()
            ]
            return self.answer(200, json.dumps(listing).encode())
        if kind != "resolve":
            return self.answer(
                200, json.dumps({"id": repo, "sha": COMMIT, "siblings": []}).encode()
            )
        name = "/".join(part for part in inside if part)
        if repo in self.gated:
            return self.answer(403, X_Error_Code="GatedRepo")
        if name not in files:
            return self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=COMMIT)
        body = files[name].read_bytes()
        if self.command == "GET":
            self.asked.append(f"{repo}/{name}")
        return self.answer(
            200, body, ETag=f'"{hashlib.sha256(body).hexdigest()}"', X_Repo_Commit=COMMIT
        )

    do_HEAD = do_GET

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty hub; `hub.repos` maps the names of its repositories to folders."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        address + "/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(Hub, "repos", {})
    monkeypatch.setattr(Hub, "gated", set())
    monkeypatch.setattr(Hub, "asked", [])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Hub
    server.shutdown()
    server.server_close()


def old_sae_lens(folder: Path, hook: str) -> None:
    """An SAE as releases of 2024 have it: a flat cfg.json without a version."""
    folder.mkdir(parents=True)
    sae = identity_sae(hook)
    weights = {
        "W_enc": sae.W_enc.data,
        "W_dec": sae.W_dec.data,
        "b_enc": sae.b_enc.data,
        "b_dec": sae.b_dec.data,
    }
    save_file(
        {name: tensor.contiguous() for name, tensor in weights.items()},
        folder / "sae_weights.safetensors",
    )
    (folder / "cfg.json").write_text(
        json.dumps({"hook_point": hook, "d_in": D_MODEL, "d_sae": 2 * D_MODEL, "dtype": "float32"})
    )


def reconstructs(subject, hook, atol=1e-5):
    tokens = torch.randint(2, 300, (2, 12), generator=torch.Generator().manual_seed(0))
    _, cache = subject.model.run_with_cache(tokens)
    acts = cache[hook]
    torch.testing.assert_close(subject.sae_at(hook)(acts), acts, atol=atol, rtol=1e-2)
    return acts


def test_gpt2_small(hub, folders, tmp_path):
    hub.repos |= {
        "openai-community/gpt2": folders["gpt2"],
        "jbloom/GPT2-Small-SAEs-Reformatted": tmp_path / "saes",
    }
    for layer in range(3):
        old_sae_lens(
            tmp_path / f"saes/blocks.{layer}.hook_resid_pre", f"blocks.{layer}.hook_resid_pre"
        )
    subject = load_subject("gpt2-small", hooks=[PRE])
    assert subject.name == "gpt2-small" and subject.source == f"openai-community/gpt2@{COMMIT}"
    assert subject.hook_names == (PRE,) and subject.listed[PRE]["l0"] == 10
    assert subject.bos and subject.context == 128 and "WebText" in subject.pretraining
    assert {name for name in hub.asked if "sae_weights" in name} == {
        f"jbloom/GPT2-Small-SAEs-Reformatted/{PRE}/sae_weights.safetensors"
    }
    # the release wants centred writing weights: the residual stream loses its mean, and nothing
    # else changes
    acts, tokens = (
        reconstructs(subject, PRE),
        torch.randint(2, 300, (2, 12), generator=torch.Generator().manual_seed(0)),
    )
    assert subject.processing == CENTERED and acts.mean(dim=-1).abs().max() < 1e-6
    torch.testing.assert_close(
        subject.model(tokens).log_softmax(-1),
        make_model("gpt2")(tokens).logits.log_softmax(-1),
        atol=2e-5,
        rtol=1e-4,
    )


def test_gemma_2b(hub, folders, tmp_path):
    hub.repos |= {
        "google/gemma-2b": folders["gemma"],
        "jbloom/Gemma-2b-Residual-Stream-SAEs": tmp_path / "saes",
    }
    hook = "blocks.0.hook_resid_post"
    old_sae_lens(tmp_path / "saes/gemma_2b_blocks.0.hook_resid_post_16384_anthropic", hook)
    subject = load_subject("gemma-2b", hooks=[hook])
    reconstructs(subject, hook)
    assert (
        subject.processing == UNPROCESSED
        and subject.listed[hook] == {"l0": 47}
        and subject.context == 1024
    )


def test_llama_scope_folds_its_activation_scaling(hub, folders, tmp_path):
    inside = tmp_path / "saes/Llama3_1-8B-Base-L1R-8x"
    (inside / "checkpoints").mkdir(parents=True)
    hyperparams = {
        "d_model": D_MODEL,
        "d_sae": 2 * D_MODEL,
        "hook_point_in": POST,
        "jump_relu_threshold": 0.0,
    }
    (inside / "hyperparams.json").write_text(
        json.dumps(hyperparams | {"dataset_average_activation_norm": {"in": 1.0}})
    )
    sae = identity_sae(POST)
    weights = {
        "encoder.weight": sae.W_enc.data.T,
        "decoder.weight": sae.W_dec.data.T,
        "encoder.bias": sae.b_enc.data,
        "decoder.bias": sae.b_dec.data,
    }
    save_file(
        {name: tensor.contiguous() for name, tensor in weights.items()},
        inside / "checkpoints/final.safetensors",
    )
    hub.repos |= {
        "meta-llama/Llama-3.1-8B": folders["llama"],
        "fnlp/Llama3_1-8B-Base-LXR-8x": tmp_path / "saes",
    }
    subject = load_subject("llama-3.1-8b", hooks=[POST])
    assert subject.sae_at(POST).dtype == torch.bfloat16 and subject.device.type == "cpu"
    reconstructs(subject, POST, atol=0.05)
    scaling = subject.listed[POST]["norm_scaling_factor"]
    assert scaling == pytest.approx(39.767, abs=1e-3)
    torch.testing.assert_close(
        subject.sae_at(POST).W_enc[:, :D_MODEL].float(),
        scaling * torch.eye(D_MODEL),
        atol=0.2,
        rtol=0,
    )


def test_llama_3_takes_saes_of_sparsify(hub, folders, tmp_path):
    inside = tmp_path / "saes/layers.1"
    inside.mkdir(parents=True)
    both = torch.cat([torch.eye(D_MODEL), -torch.eye(D_MODEL)])
    (inside / "cfg.json").write_text(
        json.dumps(
            {
                "expansion_factor": 2,
                "normalize_decoder": True,
                "k": 16,
                "signed": False,
                "d_in": D_MODEL,
            }
        )
    )
    weights = {
        "encoder.weight": both,
        "encoder.bias": torch.zeros(32),
        "W_dec": both.clone(),
        "b_dec": torch.ones(D_MODEL),
    }
    save_file(weights, inside / "sae.safetensors")
    hub.repos |= {
        "meta-llama/Meta-Llama-3-8B": folders["llama"],
        "EleutherAI/sae-llama-3-8b-32x": tmp_path / "saes",
    }
    subject = load_subject("llama-3-8b", hooks=[POST], dtype=torch.float32)
    reconstructs(subject, POST)
    assert subject.sae_at(POST).cfg.architecture() == "topk" and "RedPajama" in subject.sae_training


def test_the_paper_has_these_hook_points():
    post = [f"blocks.{layer}.hook_resid_post" for layer in range(32)]
    assert list(PAPER["gpt2-small"].saes) == [
        f"blocks.{layer}.hook_resid_pre" for layer in range(12)
    ] + [post[11]]
    assert list(PAPER["gemma-2b"].saes) == [post[layer] for layer in (0, 6, 10, 12, 17)]
    assert list(PAPER["llama-3.1-8b"].saes) == list(PAPER["llama-3.1-8b-32x"].saes) == post
    assert list(PAPER["llama-3-8b"].saes) == post[:31]
    for paper in PAPER.values():  # sae_lens of the pinned version knows every one of its releases
        assert all(
            source.startswith("hf:") or locate(source) == [source] for source in paper.saes.values()
        )


def test_any_repository_of_the_hub(hub, folders):
    hub.repos["someone/tiny"] = folders["llama"]
    subject = load_subject(
        "hf:someone/tiny",
        sae="hf:someone/tiny/saes/blocks.{layer}.hook_resid_post",
        revision=COMMIT,
    )
    assert subject.pretraining == subject.sae_training == "not known" and subject.context is None
    assert subject.name == "tiny" and subject.hook_names == ("blocks.0.hook_resid_post", POST)
    assert subject.source == f"someone/tiny@{COMMIT}"


def test_releases_of_sae_lens(hub, folders, tmp_path):
    assert locate("gpt2-small-res-jb/blocks.3.hook_resid_pre") == [
        "gpt2-small-res-jb/blocks.3.hook_resid_pre"
    ]
    assert len(locate("gpt2-small-res-jb")) == 13
    assert locate("no-such-release/x") == locate("gpt2-small-res-jb/blocks.99.hook_resid_pre") == []
    hub.repos["jbloom/Gemma-2b-Residual-Stream-SAEs"] = tmp_path / "saes"
    old_sae_lens(
        tmp_path / "saes/gemma_2b_blocks.0.hook_resid_post_16384_anthropic",
        "blocks.0.hook_resid_post",
    )
    for sae in (
        "gemma-2b-res-jb",
        "gemma-2b-res-jb/blocks.{layer}.hook_resid_post",
        "gemma-2b-res-jb/blocks.0.hook_resid_post",
    ):
        subject = load_subject(folders["gemma"], sae=sae, hooks=["blocks.0.hook_resid_post"])
        assert subject.hook_names == ("blocks.0.hook_resid_post",) and subject.listed[
            "blocks.0.hook_resid_post"
        ] == {"l0": 47}
    with pytest.raises(
        FileNotFoundError,
        match=r"no SAE matches 'gemma-2b-res-jb/x' \(this release has blocks.0.hook_resid_post, "
        "blocks.6",
    ):
        load_subject(folders["gemma"], sae="gemma-2b-res-jb/x")


def test_gated_model_without_a_token(hub, folders):
    hub.repos["meta-llama/Meta-Llama-3-8B"] = folders["llama"]
    hub.gated.add("meta-llama/Meta-Llama-3-8B")
    with pytest.raises(
        PermissionError,
        match=r"is gated: accept its licence at .*/meta-llama/Meta-Llama-3-8B and set HF_TOKEN",
    ):
        load_subject("llama-3-8b")


def test_wrong_revision_and_unknown_repository(hub, folders):
    hub.repos["google/gemma-2b"] = folders["gemma"]
    with pytest.raises(ValueError, match="'google/gemma-2b' has no revision 'v9'"):
        load_subject("gemma-2b", revision="v9")
    with pytest.raises(
        ValueError, match="the hub has no repository 'someone/nothing', or keeps it from the token"
    ):
        fetch("someone/nothing", "*")
    with pytest.raises(ValueError, match="revision='v9' is for models on the hub"):
        load_subject(folders["llama"], revision="v9")


@pytest.mark.parametrize("offline", [True, False], ids=["HF_HUB_OFFLINE", "unreachable"])
def test_hub_that_cannot_be_reached(monkeypatch, tmp_path, offline):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(
        ConnectionError,
        match=r"cannot get 'openai-community/gpt2'.*HF_HUB_OFFLINE.*HF_HOME.*local folder",
    ):
        load_subject("gpt2-small")
