"""The picture of README and first page: every subject on one axis, from what is kept (no torch)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from saecert.certificates.certificate import Certificate, certify
from saecert.measurement.stand_in import as_sae
from saecert.reporting import layers
from saecert.reporting.models import load_certificates
from saecert.reporting.published import rows_of_published
from saecert.reporting.study import open_study
from saecert.statistics.rounding import rounded_up

ALPHA = 0.5
DELTA = 0.05
SHARE = 0.75
"""Size of the pools, share of the dictionary."""
BASELINES = {
    "random_decoder(seed=0)": "random decoder",
    "permuted_dictionary(seed=0)": "shuffled codes",
}
"""Stand-ins for the SAE at the middle layer."""
COLUMNS = ["group", "label", "n", "alpha", "delta", "k", "d_sae", "direct", "bound", "uniform"]
NAMES = {"gpt2-small": "GPT-2 Small", "gemma-2b": "Gemma-2B", "llama-3-8b": "Llama-3-8B"}
PUBLISHED = "published means"
RANDOM = "no SAE"
_LOOKS = {
    False: {"text": "#1a1a1a", "model": "#3a86b7", "sae": "#e07b00", "none": "#8c8c8c"},
    True: {"text": "#e6e6e6", "model": "#7cc4ff", "sae": "#ffb068", "none": "#8f8f8f"},
}


def front_rows() -> pd.DataFrame:
    """One row a certificate: `COLUMNS`, limits in bits per token, rounded up to 3 decimals.

    Each limit holds on its own at `DELTA`, for pools fixed beforehand. Rows of `RANDOM` have
    something in the place of the SAE that has seen no text; those of `PUBLISHED` are certified by
    us from the means that the paper publishes.
    """
    rows = [*_shipped(), *_baselines(), *_public(), *_published()]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    for limit in ("direct", "bound"):
        frame[limit] = [rounded_up(value, 3) for value in frame[limit]]
    return frame.round({"uniform": 6})


def plot_front(frame: pd.DataFrame, dark: bool = False) -> Figure:
    """Bars as a share of what guessing uniformly loses: the model alone, then what is added.

    Right of the line at one a bound says nothing. The inset magnifies what reading through an SAE
    adds for the shipped model.

    Parameters
    ----------
    frame
        That of `front_rows`.
    dark
        Light on no ground, for dark pages.
    """
    look = _LOOKS[dark]
    text = {"text.color": look["text"], "axes.labelcolor": look["text"]}
    text |= {"xtick.color": look["text"], "ytick.color": look["text"], "font.size": 12}
    text |= {"axes.edgecolor": look["none"], "svg.hashsalt": "front", "axes.grid": False}
    text |= {"axes.facecolor": "none"}
    with plt.rc_context({**plt.rcParamsDefault, **text}):
        fig, ax = plt.subplots(figsize=(6.8, 6.8), layout="constrained")
        _bars(ax, frame, look)
        share = frame["bound"] / frame["uniform"]
        ax.set_xlim(0, 1.04 * max(1.0, share.max()))
        ax.axvline(1, color=look["text"], linestyle="--", linewidth=1.4)
        ax.text(0.98, -0.75, "guessing uniformly", ha="right", va="bottom")
        ax.set_xlabel("limit on the loss, as a share of log2 V")
        _inset(ax, frame[frame["group"] == "docstring-6l"], look)
        place = {"loc": "outside lower center", "ncols": 2, "frameon": False}
        fig.legend(**place, labelcolor=look["text"])
    return fig


def fingerprint(frame: pd.DataFrame) -> str:
    """Hash of what is drawn, which a picture carries."""
    return hashlib.sha256(frame.to_csv(index=False).encode()).hexdigest()


def save_front(frame: pd.DataFrame, folder: Path) -> list[Path]:
    """The files ``front_light.png`` and ``front_dark.png``, with the fingerprint inside."""
    paths = []
    for name, dark in (("light", False), ("dark", True)):
        fig = plot_front(frame, dark)
        path = folder / f"front_{name}.png"
        ground = "none" if dark else "white"
        kept = {"Description": fingerprint(frame), "Software": None}
        fig.savefig(path, dpi=120, facecolor=ground, metadata=kept)
        plt.close(fig)
        paths.append(path)
    return paths


def _row(group: str, label: str, made: Certificate, direct: float | None = None) -> dict[str, Any]:
    return {
        "group": group,
        "label": label,
        "n": made.n_seq,
        "alpha": made.alpha,
        "delta": made.delta,
        "k": made.k,
        "d_sae": made.d_sae,
        "direct": made.direct if direct is None else direct,
        "bound": made.bound,
        "uniform": math.log2(made.n_vocab),
    }


def _shipped() -> Iterator[dict[str, Any]]:
    """The certificates of the shipped model that are kept as files, by layer."""
    found = [
        made
        for made in load_certificates().values()
        if made.provenance.get("subject") == "docstring-6l"
        and (made.alpha, made.delta) == (ALPHA, DELTA)
    ]
    by_hook = {made.provenance["hook_name"]: made for made in found}
    for name in layers.by_depth(list(by_hook)):
        label = f"docstring-6l, layer {layers.labels_of([name])[0]}"
        yield _row("docstring-6l", label, by_hook[name])


def _baselines() -> Iterator[dict[str, Any]]:
    study = open_study("docstring-6l", corpus="docstrings", n_seq=500, n_discovery=500)
    options = {"pools": [], "controls": False, "alphas": [ALPHA]}
    for named, label in BASELINES.items():
        losses = study.losses(extra=[named], **options)
        record = as_sae(losses, named.partition("(")[0])
        made = certify(record, pool=record.d_sae, delta=DELTA, alpha=ALPHA, eps=(), ablations=())
        yield _row(RANDOM, f"docstring-6l, {label}", made)


def _public() -> Iterator[dict[str, Any]]:
    source = ("smollm2-135m", "", "docstrings-fresh", "all")
    study = open_study(*source, n_seq=500, n_discovery=300)
    places = layers.by_depth(study.hook_names)
    k = layers.common_pool(study, places, SHARE)
    asked = {"pools": [k], "controls": False, "alphas": [ALPHA]}
    losses = study.losses(hook_names=places, extra=["zero"], **asked)
    for name, label in zip(places, layers.labels_of(places), strict=True):
        settings = {"pool": k, "delta": DELTA, "alpha": ALPHA, "eps": (), "ablations": ()}
        yield _row(
            "SmolLM2-135M", f"SmolLM2-135M, layer {label}", certify(losses[name], **settings)
        )


def _published() -> Iterator[dict[str, Any]]:
    for row in rows_of_published(DELTA).to_dict("records"):
        yield {
            "group": PUBLISHED,
            "label": f"{NAMES[row['model']]}*",
            "n": row["n_seq"],
            "alpha": ALPHA,
            "delta": DELTA,
            "k": row["k"],
            "d_sae": row["d_sae"],
            "direct": row["direct bound"],
            "bound": row["bound"],
            "uniform": row["bound"] + row["below uniform"],
        }


def _bars(ax: Axes, frame: pd.DataFrame, look: dict[str, str]) -> None:
    rows = frame.reset_index(drop=True)
    model = rows["direct"] / rows["uniform"]
    both = rows["bound"] / rows["uniform"]
    random = rows["group"] == RANDOM
    ax.barh(rows.index, model, color=look["model"], height=0.7, label="the model alone")
    added = both - model
    for mask, colour, name in (
        (~random, look["sae"], "read through its SAE"),
        (random, look["none"], "through something random"),
    ):
        places = rows.index[mask]
        ax.barh(places, added[mask], left=model[mask], color=colour, height=0.7, label=name)
    ax.set_yticks(rows.index, _short(rows["label"]))
    ax.set_ylim(len(rows) - 0.4, -1.4)
    ax.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)


def _inset(ax: Axes, part: pd.DataFrame, look: dict[str, str]) -> None:
    """The shipped model's bars, magnified beside them."""
    inner = ax.inset_axes((0.51, 0.66, 0.34, 0.22))
    inner.patch.set_alpha(0)
    shares = [part[name] / part["uniform"] for name in ("direct", "bound")]
    low, high = min(map(min, shares)), max(map(max, shares))
    margin = 0.1 * (high - low)
    places = range(len(part))
    inner.barh(places, shares[0], color=look["model"], height=0.7)
    inner.barh(places, shares[1] - shares[0], left=shares[0], color=look["sae"], height=0.7)
    inner.set_xlim(low - 3 * margin, high + margin)
    inner.set_ylim(len(part) - 0.5, -0.5)
    inner.set_yticks(places, [label.rpartition(" ")[2] for label in part["label"]], fontsize=10)
    inner.tick_params(labelsize=10)
    for spine in inner.spines.values():
        spine.set_color(look["none"])
    inner.set_title("docstring-6l by layer", fontsize=11)


def _short(labels: Iterable[str]) -> list[str]:
    """Labels that name a model only where another one begins.

    >>> _short(["a, layer 0", "a, layer 1", "b*"])
    ['a, layer 0', 'layer 1', 'b*']
    """
    texts, before = [], ""
    for label in labels:
        model, _, rest = label.partition(", ")
        texts.append(rest if rest and model == before else label)
        before = model
    return texts
