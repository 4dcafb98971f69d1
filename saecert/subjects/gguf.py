"""A GGUF file as a model: described once as a folder, its weights dequantised at every load.

The configuration and the tokenizer that transformers makes of the file's metadata are written to
the cache folder, and read from there like those of any model folder. The weights are multiplied out
to the number type that the model runs in, whatever the file stores: the model is the *quantised*
one, and not the one that it was made of.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from hashlib import sha256
from io import StringIO
from math import prod
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PretrainedConfig,
    PreTrainedModel,
)

from saecert.storage import cache_dir, partial_folder
from saecert.subjects.folders import quiet, weights_refusal
from saecert.subjects.listing import SHIPPED, packaged_file

COMMAND = "python -m pip install gguf==0.19.0"
"""What installs the reader of GGUF files."""
_EXACT = {"F64", "F32"}
_WHOLE = 2
"""How descriptions are written: those of the first way may be half there."""
_QUANTISER = ("hf_quantizer", "is_quantized", "quantization_method")  # left on a model by loading


@dataclass(frozen=True)
class GGUF:
    """One GGUF file, described."""

    file: Path
    """The file."""
    folder: Path
    """Its configuration and tokenizer, as files of a model folder."""
    types: dict[str, int]
    """Number of its tensors by how they are stored, the most frequent first."""
    n_values: int
    """Numbers in all of its tensors."""

    @property
    def quantisation(self) -> str:
        """How its tensors are stored, such as "210 Q4_1, 61 F32, 1 Q8_0"; "" if none is rounded."""
        if set(self.types) <= _EXACT:
            return ""
        return ", ".join(f"{count} {name}" for name, count in self.types.items())


def gguf_file(model: str | Path) -> Path | None:
    """The GGUF file that `model` is, the one in it, or that of a subject from a package.

    None for anything else, such as a folder with safetensors.

    Raises
    ------
    ValueError
        Several GGUF files in a folder without other weights, or the file of a package is another.
    FileNotFoundError
        The package is not installed; the message says the command.
    """
    if str(model) in SHIPPED:
        return packaged_file(str(model))
    path = Path(model)
    if path.suffix == ".gguf" and path.is_file():
        return path
    if not path.is_dir() or any(path.glob("*.safetensors")) or any(path.glob("*.bin")):
        return None
    files = sorted(path.glob("*.gguf"))
    if len(files) > 1:
        raise ValueError(
            f"{path} holds {len(files)} GGUF files: give the path of one, such as {files[0]}"
        )
    return files[0] if files else None


def describe(file: Path) -> GGUF:
    """What `file` holds; its configuration and tokenizer are in the cache folder afterwards.

    Raises
    ------
    ImportError
        The package `gguf` is missing; the message says the command.
    ValueError
        The file is no GGUF, damaged or cut short, of an architecture that transformers does not
        read, or without a tokenizer.
    """
    stat = file.stat()
    path = str(file.resolve())
    key = repr((path, stat.st_size, stat.st_mtime_ns, transformers.__version__, _WHOLE))
    folder = cache_dir() / "gguf" / sha256(key.encode()).hexdigest()[:16]
    facts = folder / "gguf.json"
    if not facts.exists():
        _import_gguf()
        held = _read_header(file)
        with partial_folder(folder.parent) as scratch:
            written = scratch / folder.name
            _write_description(file, written, str(held.pop("architecture")))
            _drop_invented(written / "tokenizer.json", held.pop("n_tokens"))
            (written / facts.name).write_text(json.dumps(held), encoding="utf-8")
            try:
                os.replace(written, folder)
            except OSError:  # another process was faster: some may be reading its files
                if not facts.exists():
                    raise
    return GGUF(file, folder, **json.loads(facts.read_text(encoding="utf-8")))


def load_model(
    gguf: GGUF, config: PretrainedConfig, device: str | torch.device, dtype: torch.dtype
) -> PreTrainedModel:
    """The model with every weight multiplied out, as loading it from safetensors would give it.

    Raises
    ------
    ImportError
        The package `gguf` is missing.
    ValueError
        Tensors are missing or of another shape, or there are some that transformers leaves aside:
        the model would not be the one in the file.
    """
    _import_gguf()
    # the bar over the tensors is tqdm's own, which no setting of transformers turns off
    with quiet(), _damage(gguf.file), redirect_stderr(StringIO()):
        model, report = AutoModelForCausalLM.from_pretrained(
            gguf.file.parent,
            gguf_file=gguf.file.name,
            config=config,
            dtype=dtype,
            attn_implementation="eager",  # as the bridge has it
            quantization_config=GgufConfig(dequantize=True),
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    if refusal := weights_refusal(gguf.file, config, report):
        raise ValueError(refusal)
    used = sum(parameter.numel() for parameter in model.parameters())
    if used != gguf.n_values:
        raise ValueError(
            f"{gguf.file} holds {gguf.n_values:,} numbers and the '{config.model_type}' model that "
            f"transformers makes of it {used:,}: it would not be the model in the file. Convert it "
            "to safetensors by other means"
        )
    model.config.__dict__.pop("quantization_config", None)
    model.config.output_attentions = True  # as the bridge has it
    for name in _QUANTISER:
        model.__dict__.pop(name, None)
    return model.to(device)


def _import_gguf() -> Any:
    try:
        import gguf
    except ImportError as error:
        raise ImportError(f"GGUF files are read by the package gguf: {COMMAND}") from error
    return gguf


def _read_header(file: Path) -> dict[str, Any]:
    """Architecture, number of tensors by type, of all numbers in them, and of tokens."""
    with file.open("rb") as stream:
        magic = stream.read(4)
    if magic != b"GGUF":
        raise ValueError(f"{file} is no GGUF file: it begins with {magic!r}")
    with _damage(file):
        reader = _import_gguf().GGUFReader(file)
        architecture = reader.fields["general.architecture"].contents()
        counts = Counter(tensor.tensor_type.name for tensor in reader.tensors)
        n_values = sum(prod(map(int, tensor.shape)) for tensor in reader.tensors)
    tokens = reader.fields.get("tokenizer.ggml.tokens")
    if tokens is None:
        raise ValueError(
            f"{file} has no tokenizer inside (tokenizer.ggml.tokens): convert the model again with "
            "its tokenizer beside it"
        )
    types = dict(counts.most_common())
    facts = {"architecture": architecture, "types": types, "n_values": n_values}
    return {**facts, "n_tokens": len(tokens.data)}


def _write_description(file: Path, folder: Path, architecture: str) -> None:
    """Configuration and tokenizer, saved as a model folder has them."""
    where = {"gguf_file": file.name, "trust_remote_code": False, "local_files_only": True}
    try:
        with quiet():
            config = AutoConfig.from_pretrained(file.parent, **where)
            model_class = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
            tokenizer = AutoTokenizer.from_pretrained(file.parent, **where)
    except Exception as error:  # anything from KeyError to OSError
        reason = (str(error).strip() or "no message").splitlines()[0]
        raise ValueError(
            f"transformers cannot read {file}, of architecture '{architecture}', or its tokenizer "
            f"({type(error).__name__}: {reason}): convert it to safetensors by other means"
        ) from error
    config.architectures = [model_class.__name__]
    config.dtype = torch.float32
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _drop_invented(path: Path, n_tokens: int) -> None:
    """Take tokens out of a ``tokenizer.json`` that transformers adds, behind those of the file."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    kept = [token for token in stored["added_tokens"] if token["id"] < n_tokens]
    path.write_text(json.dumps(stored | {"added_tokens": kept}), encoding="utf-8")


@contextmanager
def _damage(file: Path) -> Iterator[None]:
    """Whatever reading a damaged file brings about becomes one error."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        reason = (str(error).strip() or "no message").splitlines()[0]
        raise ValueError(
            f"{file} is damaged or cut short ({type(error).__name__}: {reason}): get it again"
        ) from error
