"""A model folder: what has to be in it, and whether its weights are all there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import transformers
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging

from saecert.subjects.hub import HUB
from saecert.subjects.listing import SHIPPED
from saecert.subjects.registry import PAPER

_NEEDED = {
    "config.json": "the model's configuration",
    "tokenizer_config.json": "the tokenizer, saved next to the model by save_pretrained",
}
_NAMED = 4  # tensors that an error names
_VOCABULARY = ("tokenizer.json", "vocab*", "*.model", "*.tiktoken", "tekken.json")
_NAMING = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
_TEXTS = (
    "The bound holds for every sequence; it isn't what they'd expected, we'll see.",
    "def f(x_1, *args):\n    return {'a': x_1[2:], \"b\": args}  # HTTPServer\n\n\n",
    "20481 3.14159 1,000,000 7e-05 x86_64",
    "  two   three \t\ttabs\r\n  and a tail   ",
    "na\u00efve \u00dcn\u00efc\u00f6d\u00e9 e\u0301 \u65e5\u672c\u8a9e "
    "\u043f\u0440\u0438\u0432\u0435\u0442 \U0001f642 \u2014 \u00bd \ufb01",
)  # on which tokenizers that are not the same differ


def local_folder(model: str | Path, revision: str | None) -> Path:
    """Folder of a shipped subject, or the folder given, which has what loading needs.

    Raises
    ------
    ValueError
        Neither a subject's name nor a folder, or a revision of a folder.
    FileNotFoundError
        A file is missing; the message names it.
    """
    folder = SHIPPED.get(str(model), Path(model))
    if not folder.is_dir():
        raise ValueError(
            f"unknown subject '{model}': give one of {', '.join([*SHIPPED, *PAPER])}, the path of "
            f"a local folder in Hugging Face format or a .gguf file, or {HUB}owner/repository"
        )
    if revision is not None:
        raise ValueError(
            f"revision='{revision}' is for models on the hub, and '{model}' is a folder"
        )
    for needed, what in _NEEDED.items():
        if not (folder / needed).exists():
            raise FileNotFoundError(f"{folder} has no {needed} ({what})")
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        raise FileNotFoundError(f"{folder} has no weights (*.safetensors)")
    return folder


def read_config(folder: Path) -> PretrainedConfig:
    """The model's configuration; ValueError when it is damaged, needs code of its own, or does not
    say for which class of models it is."""
    config = _read(folder, "config.json", AutoConfig.from_pretrained)
    names = config.architectures or ()
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{folder / 'config.json'}: architectures is no list of names")
    if not names:  # Llama, Mistral and Gemma have the same tensors, and not all compute the same
        usual = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type, "LlamaForCausalLM")
        raise ValueError(
            f"{folder / 'config.json'} does not say for which class its weights were made: add "
            f'it, such as "architectures": ["{usual}"] if that is the one'
        )
    for name in names:
        made_for = getattr(getattr(transformers, name, None), "config_class", None)
        if made_for is not None and not isinstance(config, made_for):
            raise ValueError(
                f"{folder / 'config.json'} contradicts itself: model_type is "
                f"'{config.model_type}', and {name} is of type '{made_for.model_type}'"
            )
    return config


def read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """A tokenizer of one's own, which does what the folder's ``tokenizer.json`` says.

    transformers may take the class that belongs to the type of the model instead, with another
    pre-tokenizer and tokens of its own.

    Raises
    ------
    FileNotFoundError
        The folder has no vocabulary.
    ValueError
        It is damaged, needs code of its own, or cannot be read as it is stored.
    """
    if not any(path for pattern in _VOCABULARY for path in folder.glob(pattern)):
        raise FileNotFoundError(
            f"{folder} has no tokenizer.json (the tokenizer's vocabulary, saved next to the model "
            "by save_pretrained)"
        )
    tokenizer = _read(folder, "tokenizer files", AutoTokenizer.from_pretrained)
    if not (folder / "tokenizer.json").exists() or _as_stored(tokenizer, folder):
        return tokenizer
    plain = _read(folder, "tokenizer files", PreTrainedTokenizerFast.from_pretrained)
    if _as_stored(plain, folder):
        return plain
    raise ValueError(
        f"{folder / 'tokenizer.json'} and {type(tokenizer).__name__}, which transformers makes of "
        "it, give other tokens: load it with PreTrainedTokenizerFast(tokenizer_file=...) and save "
        "that next to the model by save_pretrained"
    )


def _as_stored(tokenizer: PreTrainedTokenizerBase, folder: Path) -> bool:
    """Whether a tokenizer has the ids of ``tokenizer.json``, and no token that no file names."""
    with _refusing(folder, "tokenizer files"):
        return _agrees(tokenizer, folder)


def _agrees(tokenizer: PreTrainedTokenizerBase, folder: Path) -> bool:
    stored = Tokenizer.from_file(str(folder / "tokenizer.json"))
    stored.no_truncation()
    stored.no_padding()
    added = tokenizer.get_vocab().items() - stored.get_vocab().items()
    if len(tokenizer) - stored.get_vocab_size() != len(added):
        return False
    if not {token for token, _ in added} <= _named_tokens(folder):
        return False
    return all(
        stored.encode(text, add_special_tokens=False).ids
        == tokenizer(text, add_special_tokens=False)["input_ids"]
        for text in _TEXTS
    )


def _named_tokens(folder: Path) -> set[str]:
    """Every string in the files beside ``tokenizer.json`` that may add a token to it."""
    files = [folder / name for name in _NAMING if (folder / name).exists()]
    return {text for file in files for text in _strings(json.loads(file.read_text("utf-8")))}


def _strings(value: object) -> Iterator[str]:
    """Strings anywhere in what JSON holds, keys among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _strings(item)


def read_card(folder: Path) -> dict[str, Any]:
    """Model card of a shipped subject; nothing for other folders."""
    path = folder / "card.json"
    return json.loads(path.read_text()) if path.exists() else {}


def tensor_sizes(file: Path) -> dict[str, int]:
    """Number of values of each tensor in a safetensors file, read from its header.

    Raises
    ------
    ValueError
        The file is damaged or ends too early.
    """
    try:
        with safe_open(file, "np") as opened:
            names = list(opened.keys())
            return {name: prod(opened.get_slice(name).get_shape()) for name in names}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file} is damaged ({error}): get it again") from error


def check_weights(folder: Path, config: PretrainedConfig) -> None:
    """Raise ValueError unless the files hold exactly the tensors of the model.

    transformers fills a gap with random numbers and says so in a log. Here the same loader runs
    without reading or making a single weight, so that tied embeddings, renamed tensors, buffers
    and files in several parts count as they do when the model is loaded.
    """
    for file in sorted(folder.glob("*.safetensors")):
        tensor_sizes(file)
    with quiet():
        try:
            _, report = AutoModelForCausalLM.from_pretrained(
                folder,
                config=config,
                device_map="meta",
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                trust_remote_code=False,
                local_files_only=True,
            )
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{folder} lacks a part of the weights: {error}") from error
        except Exception as error:  # whatever a damaged file brings about
            raise ValueError(
                f"the weights in {folder} cannot be read ({type(error).__name__}: "
                f"{_first_line(error)}): get them again, or save them as safetensors"
            ) from error
    if refusal := weights_refusal(folder, config, report):
        raise ValueError(refusal)


def weights_refusal(source: Path, config: PretrainedConfig, report: Mapping[str, Any]) -> str:
    """What is wrong with the tensors in `source`, by the report of transformers' loader.

    Empty if nothing is.
    """
    misshapen = [
        f"{name} ({list(stored)} in the file, {list(wanted)} in the model)"
        for name, stored, wanted in report["mismatched_keys"]
    ]
    faults = {
        "missing": report["missing_keys"],
        "unexpected": report["unexpected_keys"],
        "of another shape": misshapen,
    }
    listed = [_listed(kind, names) for kind, names in faults.items() if names]
    if not listed:
        return ""
    inside = "its metadata" if source.is_file() else "its config.json"
    return (
        f"the weights in {source} are not those of the '{config.model_type}' model in {inside} "
        f"({config.num_hidden_layers} layers): {'; '.join(listed)}"
    )


def _listed(kind: str, names: Iterable[str]) -> str:
    """ "3 missing: a, b, c", shortened."""
    ordered = sorted(names)
    rest = f" and {len(ordered) - _NAMED} more" if len(ordered) > _NAMED else ""
    return f"{len(ordered)} {kind}: {', '.join(ordered[:_NAMED])}{rest}"


def _read(folder: Path, what: str, loader: Callable[..., Any]) -> Any:
    """What a loader of transformers makes of a folder, whose own code never runs."""
    with _refusing(folder, what):
        return loader(folder, trust_remote_code=False, local_files_only=True)


@contextmanager
def _refusing(folder: Path, what: str) -> Iterator[None]:
    """Whatever damaged files of a folder bring about becomes a ValueError."""
    try:
        yield
    except BaseException as error:  # transformers raises anything from OSError to KeyError
        # tokenizers, where it does not foresee something, raises what is no Exception
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        if "trust_remote_code" in str(error):
            raise ValueError(
                f"{folder} needs Python code of its own (auto_map in its {what}), which saecert "
                "never runs: only models that transformers knows can be loaded"
            ) from error
        raise ValueError(
            f"the {what} in {folder} cannot be used ({type(error).__name__}: "
            f"{_first_line(error)}): correct it, or get it again"
        ) from error


def _first_line(error: BaseException) -> str:
    """What an error says in its first line, and in the next if that only announces it."""
    lines = (str(error).strip() or "no message").splitlines()
    said = f"{lines[0]} {lines[1].strip()}" if lines[0].endswith(":") and lines[1:] else lines[0]
    return f"{said:.500}"


@contextmanager
def quiet() -> Iterator[None]:
    """transformers without its report and its progress bar: what is wrong becomes an error here."""
    level = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
