"""Proxies by name: "pca(48)", "pooled(shuffled_latents, 1152)". Read without torch, and never
evaluated.

What a page measures can so be written down, looked up, and measured again. `parse` reads a name,
`Spec.name` says under which name its losses are recorded; `saecert.measurement.catalogue.build`
makes the proxy.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Kind:
    """A kind of proxy that can be named."""

    settings: Mapping[str, Any]
    """Settings in their order: a default value, or the type of one that must be given."""
    record: str
    """Name of its losses in a record, with settings in braces."""
    discovery: bool = False
    """Whether it is built from the discovery split."""
    about: str = ""
    """What it is, in a few words."""


class Proxied:
    """Type of a setting that is itself a proxy by name."""


KINDS = {
    "full": Kind({}, "full", about="the SAE's reconstruction"),
    "zero": Kind({}, "zero", about="zero ablation"),
    "mean": Kind({}, "mean", True, "ablation to the mean over discovery"),
    "noise": Kind({"seed": 0}, "noise", about="a random error as long as the SAE's"),
    "pca": Kind({"k": int}, "pca_{k}", True, "the leading principal components"),
    "pool": Kind({"k": int, "rank": "frequency"}, "pool_{k}", True, "the k highest-ranked latents"),
    "shuffled_latents": Kind(
        {"seed": 0}, "shuffled_latents", about="activations moved to other latents at each token"
    ),
    "permuted_dictionary": Kind(
        {"seed": 0}, "permuted_dictionary", about="atoms permuted among the latents"
    ),
    "shuffled_positions": Kind(
        {"seed": 0}, "shuffled_positions", about="codes moved to other tokens"
    ),
    "donor_codes": Kind(
        {"n": 64, "seed": 0}, "donor_codes", True, "codes of other text, of n sequences"
    ),
    "random_decoder": Kind(
        {"match_norm": False, "seed": 0}, "random_decoder{match_norm}", about="random unit atoms"
    ),
    "mixed": Kind({"block": int}, "mixed_{block}", True, "latents mixed in blocks of neighbours"),
    "random_encoder": Kind(
        {"k": int, "seed": 0}, "random_{k}", True, "k active of random directions, atoms fitted"
    ),
    "top": Kind({"k": int}, "top_{k}", about="the k largest activations of each token"),
    "pooled": Kind(
        {"proxy": Proxied, "k": int, "rank": "frequency"},
        "{proxy} pool_{k}",
        True,
        "a proxy cut down to the k highest-ranked latents",
    ),
}
"""Everything that can be named."""


@dataclass(frozen=True)
class Spec:
    """A proxy by name, with all its settings."""

    kind: str
    """A key of `KINDS`."""
    settings: tuple[tuple[str, Any], ...]
    """Every setting with its value; a proxy is a `Spec` again."""

    def __getitem__(self, setting: str) -> Any:
        return dict(self.settings)[setting]

    @property
    def name(self) -> str:
        """Name under which its losses are recorded; another seed than 0 is part of it.

        >>> parse("pooled(shuffled_latents, 1152)").name
        'shuffled_latents pool_1152'
        """
        values = {key: _in_name(key, value) for key, value in self.settings}
        name = KINDS[self.kind].record.format(**values)
        seed = dict(self.settings).get("seed", 0)
        return f"{name}_seed_{seed}" if seed else name

    @property
    def needs_discovery(self) -> bool:
        """Whether it, or a proxy in it, is built from the discovery split."""
        inner = [value for _, value in self.settings if isinstance(value, Spec)]
        return KINDS[self.kind].discovery or any(spec.needs_discovery for spec in inner)

    def __str__(self) -> str:
        """The name in full, with every setting: the same for all spellings of it.

        >>> str(parse("noise"))
        'noise(seed=0)'
        """
        if not self.settings:
            return self.kind
        values = (
            f"{key}={value}" if isinstance(value, Spec) else f"{key}={value!r}"
            for key, value in self.settings
        )
        return f"{self.kind}({', '.join(values)})"


def parse(text: str) -> Spec:
    """The proxy that a name stands for; ValueError says what is wrong and what there is.

    >>> parse("pca(48)") == parse("pca(k=48)")
    True
    """
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"'{text[:60]}' is not the name of a proxy; {_there_are()}") from error
    return _spec(node, text)


def _spec(node: ast.expr, text: str) -> Spec:
    call = node if isinstance(node, ast.Call) else None
    function = call.func if call else node
    kind = function.id if isinstance(function, ast.Name) else ""
    if kind not in KINDS:
        raise ValueError(f"no proxy is called '{kind or text[:60]}'; {_there_are()}")
    return Spec(kind, _settings(kind, call, text))


def _settings(kind: str, call: ast.Call | None, text: str) -> tuple[tuple[str, Any], ...]:
    wanted = KINDS[kind].settings
    positional = call.args if call else []
    named = {keyword.arg: keyword.value for keyword in call.keywords} if call else {}
    if len(positional) > len(wanted):
        raise ValueError(f"'{text}': {_usage(kind)}")
    given = dict(zip(wanted, positional, strict=False))
    wrong = [key for key in named if key not in wanted or key in given]
    if wrong:
        raise ValueError(f"'{text}': {_usage(kind)}, not {', '.join(map(str, wrong))}")
    if call and len(named) < len(call.keywords):
        raise ValueError(f"'{text}': {_usage(kind)}, each once")
    given |= named
    return tuple((key, _setting(kind, key, given.get(key), text)) for key in wanted)


def _setting(kind: str, key: str, node: ast.expr | None, text: str) -> Any:
    wanted = KINDS[kind].settings[key]
    needed = wanted if isinstance(wanted, type) else type(wanted)
    if node is None:
        if isinstance(wanted, type):
            raise ValueError(f"'{text}' does not say {key}: {_usage(kind)}")
        return wanted
    if needed is Proxied:
        return _spec(node, text)
    value = node.value if isinstance(node, ast.Constant) else None
    if type(value) is not needed or (needed is int and value < 0):
        kinds = {int: "a whole number", bool: "True or False", str: "a text in quotes"}
        raise ValueError(f"'{text}': {key} is {kinds[needed]}; {_usage(kind)}")
    return value


def _usage(kind: str) -> str:
    settings = KINDS[kind].settings
    shown = [
        key if isinstance(value, type) else f"{key}={value!r}" for key, value in settings.items()
    ]
    return f"it is {kind}({', '.join(shown)})" if shown else f"{kind} has no settings"


def _there_are() -> str:
    return f"there are {', '.join(KINDS)}"


def _in_name(key: str, value: Any) -> str:
    if isinstance(value, Spec):
        return value.name
    if isinstance(value, bool):
        return "_matched" if value else ""
    return str(value)
