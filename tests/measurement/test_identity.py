"""Measurements are kept under what determines them, and under nothing else."""

import ast
import hashlib
from dataclasses import replace

import pytest
from checks import ROOT
from imported import imports

from saecert import load_subject
from saecert.measurement import identity as identities
from saecert.measurement.circumstances import merged
from saecert.measurement.identity import identity
from saecert.reporting import measurements


def test_model_saes_sequences_and_settings_identify_a_measurement(folders, subject, corpora):
    sample = corpora["certification"]
    first, second, *_ = subject.hook_names
    key = identity(subject, sample, first, "settings")
    swapped = replace(subject, saes={first: subject.sae_at(second)})
    other_model = replace(load_subject(folders["gpt2"]), saes=subject.saes)
    others = [
        identity(subject, corpora["discovery"], first, "settings"),
        identity(subject, replace(sample, bos=not sample.bos), first, "settings"),
        identity(subject, sample, second, "settings"),
        identity(subject, sample, "", "settings"),
        identity(subject, sample, first, "other settings"),
        identity(swapped, sample, first, "settings"),
        identity(other_model, sample, first, "settings"),
    ]
    assert key == identity(subject, sample, first, "settings")
    assert len({key, *others}) == 1 + len(others)


@pytest.mark.parametrize("name", ["MEASUREMENT_VERSION", "dtype_name"])
def test_version_and_number_type_identify_a_measurement(subject, corpora, monkeypatch, name):
    key = identity(subject, corpora["discovery"])
    monkeypatch.setattr(identities, name, lambda subject: "bfloat16")
    assert identity(subject, corpora["discovery"]) != key


def test_the_name_of_a_document_identifies_nothing(subject, corpora):
    sample = corpora["discovery"]
    renamed = replace(sample, name="other", keys=tuple(f"{key}!" for key in sample.keys))
    assert identity(subject, renamed) == identity(subject, sample)


def test_circumstances_that_differ_are_all_told():
    first = {"versions": {"torch": "2.1"}, "machine": {"device": "cpu"}, "date": "2026-01-02"}
    second = {"versions": {"torch": "2.2"}, "machine": {"device": "cpu"}, "date": "2026-01-01"}
    both = {
        "versions": {"torch": "2.1, 2.2"},
        "machine": {"device": "cpu"},
        "date": "2026-01-01, 2026-01-02",
    }
    assert merged([first, second]) == both
    assert merged([first, first]) == first


MEASURING = (
    "saecert/measurement/batch.py",
    "saecert/measurement/catalogue.py",
    "saecert/measurement/controls.py",
    "saecert/measurement/divergence.py",
    "saecert/measurement/proxies.py",
    "saecert/measurement/quality.py",
    "saecert/measurement/ranking.py",
    "saecert/measurement/references.py",
    "saecert/measurement/saecheck.py",
    "saecert/measurement/scoring.py",
    "saecert/measurement/site.py",
    "saecert/measurement/stand_in.py",
    "saecert/measurement/survey.py",
    "saecert/measurement/sweep.py",
    "saecert/subjects/forward.py",
    "saecert/subjects/products.py",
    "saecert/subjects/top_afa.py",
)
"""Files with code that makes numbers."""
BESIDE = (
    "__init__",
    "circumstances",
    "cluster",
    "collect",
    "commands",
    "engines",
    "fitting",
    "identity",
    "kept",
    "loop",
    "named",
    "provenance",
    "sharded",
    "version",
)
"""Modules of the room that say what is measured and where it is kept, or make nothing kept."""
MAKERS = ("dictionaries", "training")
"""Rooms with the code of kept arrays and of SAEs that are trained for a page."""
PINNED = {"MEASURING": "604c98cb8c755a74", "MAKING": "0fffc0175d6d202a"}
"""Hashes of that code at the present `MEASUREMENT_VERSION`."""
ADVICE = """the code of {name} changed, and kept numbers come from it.
1. If they may change: raise MEASUREMENT_VERSION in saecert/measurement/version.py, run
   `make measure`, list in CHANGELOG.md what moved, and update the hash.
2. If they cannot (a rename, a diagnostic of which nothing is kept yet): only update the hash, in
   tests/measurement/test_identity.py: PINNED["{name}"] = "{present}"
The files: {files}"""


def code_hash(paths):
    """Hash of the code of files without docstrings, comments, layout; by Python 3.11 and 3.12."""
    dumped = []
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list):
                node.body = [line for line in body if not _is_text(line)]
        dumped.append(ast.dump(tree).replace(", type_params=[]", ""))
    return hashlib.sha256("\n".join(dumped).encode()).hexdigest()[:16]


def making(root=ROOT, starts=None):
    """Files of `MAKERS` that what is kept is made by: those that it starts from, and what these
    import of the two rooms, late imports too."""
    if starts is None:
        builds = [file.request.get("build") for file in measurements.all_kept("frame")]
        builds += [
            file.request["settings"].get("build") for file in measurements.all_kept("arrays")
        ]
        starts = [build.partition(":")[0] for build in builds if build]
        starts.append("saecert.reporting.quantities")
    found = set()
    todo = [_file(root, module) for module in starts if "\n" not in module]
    while todo:
        path = todo.pop()
        if path in found:
            continue
        found.add(path)
        modules = [name.rpartition(".")[0] for _, name in imports(path)]
        modules += [name for _, name in imports(path)]
        rooms = [name for name in modules if name.split(".")[1:2] and name.split(".")[1] in MAKERS]
        todo += [file for file in (_file(root, name) for name in rooms) if file.exists()]
    return sorted(path for path in found if path.parent.name in MAKERS)


def _file(root, module):
    return root / f"{module.replace('.', '/')}.py"


def _is_text(line):
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)


@pytest.mark.parametrize("name", list(PINNED))
def test_the_code_that_measures_is_the_one_of_this_version(name):
    paths = [ROOT / path for path in MEASURING] if name == "MEASURING" else making()
    present = code_hash(paths)
    files = ", ".join(path.relative_to(ROOT / "saecert").as_posix() for path in paths)
    advice = ADVICE.format(name=name, present=present, files=files)
    assert present == PINNED[name], advice


def test_every_module_that_measures_is_known():
    room = ROOT / "saecert/measurement"
    measuring = {path.stem for path in (ROOT / path for path in MEASURING) if path.parent == room}
    assert measuring.isdisjoint(BESIDE)
    assert {path.stem for path in room.glob("*.py")} == measuring | set(BESIDE)


def test_what_makes_kept_arrays_is_found_by_its_imports(tmp_path):
    room = tmp_path / "saecert/training"
    room.mkdir(parents=True)
    (room / "made.py").write_text("def f():\n    from saecert.training.step import g\n")
    (room / "step.py").write_text("from saecert.training import made\n")
    (room / "card.py").write_text("from saecert.training import made\n")
    assert making(tmp_path, ["saecert.training.made"]) == [room / "made.py", room / "step.py"]
    names = {f"{path.parent.name}/{path.stem}" for path in making()}
    assert {"dictionaries/horizon", "dictionaries/untrained", "training/compared"} <= names
    assert names.isdisjoint({"training/commands", "training/sae_card", "dictionaries/growth"})


def test_comments_and_layout_are_no_code(tmp_path):
    plain = tmp_path / "plain.py"
    annotated = tmp_path / "annotated.py"
    changed = tmp_path / "changed.py"
    plain.write_text("def f(x):\n    return x + 1\n")
    annotated.write_text('"""About."""\n\ndef f(x):\n    """More."""\n    return (x + 1)  # one\n')
    changed.write_text("def f(x):\n    return x + 10\n")
    assert code_hash([plain]) == code_hash([annotated]) != code_hash([changed])
