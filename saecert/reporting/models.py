"""Certificates in files, computed again; and the bounds that others printed (no torch)."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from saecert.certificates.certificate import Certificate, certify
from saecert.certificates.files import compare
from saecert.certificates.published import published_bound
from saecert.records import SequenceLosses
from saecert.reporting.kept import RUN
from saecert.reporting.layers import labels_of
from saecert.reporting.tables import models_table

if TYPE_CHECKING:
    from saecert.reporting.study import Study

CLONE = Path(__file__).resolve().parents[2]
SAME = 0.005
"""Bits by which a bound may differ on another processor."""

_PRINTED = {
    "gpt2-small": ("GPT-2 small", 59.77, 24_576, 50_257, (16.6, 14.8, 13.05, 11.2, 8.75)),
    "gemma-2b": ("Gemma-2B", 58.19, 16_384, 256_000, (18.9, 16.9, 15.0, 13.05, 10.4)),
}
"""Short name, active latents, dictionary, vocabulary; bounds read off figure 1 of 2602.11388."""
_TOKENS = (20_000, 30_000, 50_000, 100_000, 500_000)


def load_certificates(folder: str | Path = "") -> dict[str, Certificate]:
    """Certificates by file name: those in `folder`, and those that the run of this page has left.

    Parameters
    ----------
    folder
        A folder of files written by `Certificate.save`; "" takes the one of the clone.

    Raises
    ------
    ValueError
        A file is damaged or of another schema, or there is none at all.
    """
    folders = [Path(folder or CLONE / "certificates")]
    if os.environ.get(RUN):
        folders.append(Path(os.environ[RUN], "certificates"))
    paths = [path for place in folders for path in sorted(place.glob("*.json"))]
    files = {path.name: path for path in paths if path.name != "schema.json"}
    if not files:
        raise ValueError(f"no certificates in {folders[0]}: make some, or name another folder")
    return {name: Certificate.load(path) for name, path in files.items()}


def certificates_of(
    certificates: Mapping[str, Certificate], subject: str, corpus: str
) -> dict[str, Certificate]:
    """Those about one subject on one text, as `saecert.reporting.study.open_study` names them."""
    names = (Path(subject).name, Path(corpus).name)
    return {
        file: certificate
        for file, certificate in certificates.items()
        if _names(certificate.provenance) == names
    }


def rows_of_models(certificates: Mapping[str, Certificate]) -> pd.DataFrame:
    """`models_table` in the order of a reader: by subject, falling alpha, hook point.

    The index is the name of the file; the column "label" is what a figure calls the row.
    """
    frame = models_table(certificates).set_index("label").rename_axis("file")
    order = ["subject", "alpha", "hook_name"]
    frame = frame.sort_values(order, ascending=[True, False, True])
    return frame.assign(label=frame["subject"] + " " + frame["hook_name"])


def shown_rows(frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Rows of `rows_of_models` as a table, and " of SUBJECT" for its caption if there is but one.

    Columns that are the same in every row and stand in `settings_of` ("n_seq", "delta") are left
    out; those about the uniform predictor say that they are of the sharp bound.
    """
    of_sharp = {name: f"{name} (sharp)" for name in ("share of uniform", "below uniform")}
    table = by_layer(frame).rename(columns=of_sharp)
    columns = [name for name in ("n_seq", "delta") if table[name].nunique() > 1]
    columns = [*columns, "k", "bound", "sharp", *of_sharp.values(), "verdict"]
    subjects = table["subject"].unique()
    if len(subjects) == 1:
        return table[columns], f" of {subjects[0]}"
    return table.set_index("subject", append=True)[columns].swaplevel(0, 2), ""


def shares_of_bounds(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of `rows_of_models` with the bound, not the sharp one, as "share of uniform".

    So they may stand on one axis with bounds from means, of which there are no sharp ones.
    """
    return frame.assign(**{"share of uniform": frame["bound"] / frame["uniform"]})


def by_layer(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows by "layer", which takes the place of the column "hook_name", and "alpha"."""
    named = frame.assign(layer=labels_of(list(frame["hook_name"])))
    return named.set_index(["layer", "alpha"]).drop(columns="hook_name")


def settings_of(certificates: Mapping[str, Certificate]) -> str:
    """n, delta, alpha and k of several certificates, every value that occurs.

    >>> settings_of(certificates)  # doctest: +SKIP
    'n = 1000, delta = 0.05, alpha = 0.01 and 0.5, k = 1152 or 1536 of 1536 latents'
    """
    chosen = list(certificates.values())
    parts = {
        "n": _listed([c.n_seq for c in chosen], "or"),
        "delta": _listed([c.delta for c in chosen], "or"),
        "alpha": _listed([c.alpha for c in chosen], "and"),
        "k": _listed([c.k for c in chosen], "or"),
    }
    text = ", ".join(f"{name} = {values}" for name, values in parts.items())
    return f"{text} of {_listed([c.d_sae for c in chosen], 'or')} latents"


def losses_of(certificates: Mapping[str, Certificate], study: Study) -> dict[str, SequenceLosses]:
    """By file, losses of a study at the hook point, alpha and number of sequences of each."""
    losses: dict[str, SequenceLosses] = {}
    for size in sorted({c.n_seq for c in certificates.values()}):
        part = {name: c for name, c in certificates.items() if c.n_seq == size}
        hooks = {name: c.provenance["hook_name"] for name, c in part.items()}
        weights = sorted({c.alpha for c in part.values()})
        sized = study.beside(n_seq=size)
        records = sized.losses(hook_names=sorted(set(hooks.values())), alphas=weights)
        losses |= {name: records[hook] for name, hook in hooks.items()}
    return losses


def recomputed(
    certificates: Mapping[str, Certificate], losses: Mapping[str, SequenceLosses]
) -> pd.DataFrame:
    """One row a certificate that there are losses for: its bound, and the bound computed again.

    Columns: "hook_name", "alpha", "n_seq", "same sample" (the sequences of the file), "k", "k
    again", "bound", "bound again", "same" (the same sequences and pool, bounds within `SAME` bits),
    "values" (that agree to a relative 1e-9, if all do, else 0: losses that were measured on another
    kind of processor differ in later digits). Losses that a file's settings cannot certify
    are those of another sample.
    """
    rows = [_again(name, certificates[name], record) for name, record in losses.items()]
    columns = ["file", "hook_name", "alpha", "n_seq", "same sample", "k", "k again", "bound"]
    columns += ["bound again", "same", "values"]
    frame = pd.DataFrame(rows, columns=columns).set_index("file")
    return frame.sort_values(["hook_name", "alpha"], ascending=[True, False])


def printed_bounds() -> pd.DataFrame:
    """Bounds as the predecessor of the paper prints them, read off its figure to about 2 %.

    Not certificates. Columns: "label", "model" (a short name), "tokens", "as printed", "without
    penalties" (what is left of it when the formula's two penalties are taken away), "share of
    uniform".
    """
    rows = []
    for name, (short, k, d_sae, n_vocab, bounds) in _PRINTED.items():
        sizes = {"k": k, "d_sae": d_sae, "n_vocab": n_vocab}
        for tokens, bound in zip(_TOKENS, bounds, strict=True):
            penalties = published_bound(0.0, 0.0, n_tokens=tokens, **sizes).bound
            row = {"label": f"{name}, predecessor's formula", "model": short, "tokens": tokens}
            row["as printed"] = bound
            row["without penalties"] = bound - penalties
            row["share of uniform"] = bound / math.log2(n_vocab)
            rows.append(row)
    return pd.DataFrame(rows)


def printed_table(printed: pd.DataFrame) -> pd.DataFrame:
    """The frame of `printed_bounds` as a table: two rows a model, a column a number of tokens."""
    values = ["as printed", "without penalties"]
    long = printed.melt(["model", "tokens"], values, "reading", "bits")
    table = long.pivot(index=["model", "reading"], columns="tokens", values="bits")
    return table.rename(columns="{:,}".format)


def without_row(names: Sequence[str], certificates: Mapping[str, Certificate]) -> list[str]:
    """Those of the models that no certificate is about."""
    there = {certificate.provenance.get("subject", "") for certificate in certificates.values()}
    return [name for name in names if name not in there]


def _listed(values: Sequence[int | float], last: str) -> str:
    texts = [f"{value:.6g}" for value in sorted(set(values))]
    return f" {last} ".join([", ".join(texts[:-1]), texts[-1]] if texts[1:] else texts)


def _names(provenance: Mapping[str, Any]) -> tuple[str, str]:
    subject = str(provenance.get("subject", ""))
    return subject, Path(str(provenance.get("corpus", ""))).name


def _again(name: str, stored: Certificate, losses: SequenceLosses) -> dict[str, Any]:
    row = {
        "file": name,
        "hook_name": stored.provenance.get("hook_name", ""),
        "alpha": stored.alpha,
        "n_seq": stored.n_seq,
        "k": stored.k,
        "bound": stored.bound,
    }
    try:
        again = certify(losses, **stored.settings)
    except ValueError:  # such as fewer sequences, or a pool that was not measured
        return row | {"same sample": False, "same": False, "values": 0}
    same_sample = again.sample_sha256 == stored.sample_sha256
    close = abs(again.bound - stored.bound) < SAME
    return row | {
        "same sample": same_sample,
        "k again": again.k,
        "bound again": again.bound,
        "same": same_sample and close and again.k == stored.k,
        "values": _agreeing(stored, again),
    }


def _agreeing(stored: Certificate, again: Certificate) -> int:
    """Number of values that both have, all agreeing; 0 if one differs.

    When the losses were measured, and on what, is no number of a certificate.
    """
    left_out = ("fingerprint", "provenance")
    trees = [asdict(certificate) for certificate in (stored, again)]
    numbers = [{key: tree[key] for key in tree if key not in left_out} for tree in trees]
    try:
        return compare(*numbers)
    except ValueError:
        return 0
