"""What is measured of a dictionary in each sequence: names and ranges, read without torch."""

from __future__ import annotations

from collections.abc import Iterable

FIDELITY = {"explained variance": (0.0, 1.0), "cosine": (-1.0, 1.0), "relative error": (0.0, 1.0)}
"""What `saecert.dictionaries.fidelity.fidelity` returns, in this order, with its smallest and
largest possible value."""

RIVALS = ("SAE error", "low confidence")
"""What `saecert.dictionaries.rivals.rivals` returns, larger when stranger."""

PERTURBATIONS = ("SAE error", "noise", "shuffled latents")
"""What `saecert.dictionaries.horizon.horizon` puts in the place of an activation: the
reconstruction, and two errors exactly as large at every position."""

DIVERGENCES = ("KL", "smoothed KL")
"""What it measures of each, in bits: of the predictions as they are, which has no upper end, and of
the smoothed ones, which has."""

OUTPUT = "output"
"""The horizon of what the model really predicts; the others are numbers of blocks."""


COSTS = ("encoder", "optimal", "better", "floor")
"""Costs by sequence that `saecert.dictionaries.optimality.optimality` measures, as shares of the
cost of no activity: each is at most the one before, but for "better", which was tried on other
data."""

PAIRS = {"opposite": -1, "alike": 1}
"""Kinds of pairs of atoms in `saecert.dictionaries.phenomena.phenomena`, by the sign of the cosine
between them."""

BESIDES = ("first", "second", "both")
"""What it counts of a pair."""

OFTEN = 10
"""Firings of a latent below which averages over them are left out."""

ABSORBED = "absorbed"
"""Its pairs of a parent and a child."""

CEILING = "largest smoothed KL"
"""What no smoothed KL exceeds, in bits: beside the others, the same for every sequence."""


def divergence_name(divergence: str, perturbation: str, horizon: int | str) -> str:
    """Name of one array of `horizon`.

    >>> divergence_name("KL", "noise", 2)
    'KL of noise at 2'
    """
    return f"{divergence} of {perturbation} at {horizon}"


def horizons_of(names: Iterable[str]) -> list[int | str]:
    """Horizons that arrays of these names are at, the nearest first.

    >>> horizons_of(["KL of noise at output", "KL of noise at 2", "KL of noise at 0"])
    [0, 2, 'output']
    """
    words = {name.rpartition(" at ")[2] for name in names if name != CEILING}
    blocks = sorted(int(word) for word in words if word != OUTPUT)
    return [*blocks, OUTPUT]


NORMS = ("norm_z", "norm_f", "norm_z_hat", "nmse", "eps_lbo", "eps_identity")
"""What `saecert.dictionaries.quasi_orthogonality.quasi_orthogonality` returns of each token."""

BANDS = (0.25, 0.5, 1.0)
"""Values of eps (h - 1) at which bands are drawn around the line ``norm_f = norm_z``."""

PREDICTORS = ("nmse", "norm_deviation", "eps_lbo", "eps_identity")
"""What might say what splicing costs at a token; "norm_deviation" is ``|norm_f / norm_z - 1|``."""

SPLICE_COSTS = ("loss_increase", "total_variation")
"""What splicing costs at a token: bits that its next token costs more, and how far the prediction
moves, in [0, 1]."""

COHERENCE = "coherence"
"""Largest |cosine| of two atoms of the decoder, beside the others, the same for every sequence."""

COHERENCE_WITH_BIAS = "coherence with b_dec"
"""The same with the bias as one atom more."""

SIZES = ("d_sae", "d_in")
"""Number of latents and of dimensions, likewise in every row."""


def outside_name(band: float) -> str:
    """Name of the share of a sequence's tokens outside a band.

    >>> outside_name(0.5)
    'outside 0.5'
    """
    return f"outside {band:g}"


def tau_name(predictor: str, cost: str) -> str:
    """Name of the rank correlation over the tokens of a sequence.

    >>> tau_name("nmse", "loss_increase")
    'tau of nmse with loss_increase'
    """
    return f"tau of {predictor} with {cost}"


def token_name(name: str) -> str:
    """Name of the values at tokens drawn at random, some in each sequence.

    >>> token_name("nmse")
    'token nmse'
    """
    return f"token {name}"


TRAINED = "trained"
"""The SAE whose latents `saecert.dictionaries.latents` looks at."""

RANDOM = "random"
"""The untrained SAE beside it."""

KINDS = (TRAINED, RANDOM)
"""Both, as names of its arrays begin."""

LABELS_OF_SEQUENCES = ("package", "parameters", "example")
"""What `saecert.dictionaries.labels` says of a sequence: it is from the package that most are from;
it has a section of parameters; it has a doctest."""

LABELS_OF_TOKENS = ("code", "identifier")
"""What it says of a token: it stands in a line of code; the next one is word characters."""

CLASSES_OF_TOKENS = ("identifier", "spaced")
"""Classes of the vocabulary: tokens of word characters; tokens that begin with a space."""

SPARSE = (1, 5)
"""How many latents a sparse probe reads."""

JUDGED_PARTS = ("cause", "isolate")
"""Scores of an edit: the prediction follows; what should stay stays."""

RANDOM_LATENTS = "random latents"
"""In the names of floors: latents drawn at random in the place of the best ones."""

DETECTION = "detection"
"""Scores by latent of `saecert.dictionaries.detection`."""

OTHER_LATENT = "detection, another latent"
"""The floor of that: told from the examples of another latent."""


def probe_name(k: int, label: str, floor: str = "") -> str:
    """Name of the scores of a sparse probe.

    >>> probe_name(1, "code"), probe_name(5, "code", RANDOM_LATENTS)
    ('probe 1 of code', 'probe 5 of code, random latents')
    """
    return f"probe {k} of {label}" + (f", {floor}" if floor else "")


def edit_name(part: str, attribute: str, floor: str = "") -> str:
    """Name of the scores of an edit.

    >>> edit_name("cause", "spaced")
    'cause of spaced'
    """
    return f"{part} of {attribute}" + (f", {floor}" if floor else "")


def package_label(package: str) -> str:
    """Label of the texts of a package: it against all others.

    >>> package_label("numpy")
    'package: numpy'
    """
    return f"{_ONE_PACKAGE}{package}"


_ONE_PACKAGE = "package: "


def labels_probed(names: Iterable[str], k: int) -> list[str]:
    """Labels that names of scores are about, those of probes on `k` latents.

    Without those of single packages, which are `packages_probed`.

    >>> labels_probed(["probe 1 of code", "probe 5 of code", "probe 5 of code, random latents"], 5)
    ['code']
    """
    return [label for label in _probed(names, k) if not label.startswith(_ONE_PACKAGE)]


def packages_probed(names: Iterable[str], k: int) -> list[str]:
    """Labels of single packages among names of scores, those of probes on `k` latents.

    >>> packages_probed(["probe 1 of code", "probe 1 of package: numpy"], 1)
    ['package: numpy']
    """
    return [label for label in _probed(names, k) if label.startswith(_ONE_PACKAGE)]


def _probed(names: Iterable[str], k: int) -> list[str]:
    begin = probe_name(k, "")
    return [name[len(begin) :] for name in names if name.startswith(begin) and "," not in name]
