"""Certificates and losses that were changed, a thousand of each in the long form: none verifies,
none executes anything, and each refusal is a line."""

from __future__ import annotations

import io
import json
import pickle
import random
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from faulty import times
from synthetic_losses import random_losses

from saecert.__main__ import main
from saecert.certificates.certificate import certify
from saecert.records import SequenceLosses

pytestmark = [pytest.mark.faults, pytest.mark.filterwarnings("ignore:Duplicate name")]
BOMB = 64 * 2**20


class Executed:
    """What must never be unpickled: it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable, tuple]:
        return Path.touch, (self.mark,)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with a certificate and the losses behind it, which verify."""
    folder = tmp_path_factory.mktemp("whole")
    losses = random_losses()
    losses.save(folder / "losses.npz")
    certify(losses, inequality="hoeffding").save(folder / "certificate.json")
    paths = (str(folder / name) for name in ("certificate.json", "losses.npz"))
    assert main(["verify", *paths]) == 0
    return folder


def refused(certificate: Path, losses: Path, capsys) -> str:
    """The line with which a pair is refused."""
    assert main(["verify", str(certificate), str(losses)]) == 1, "it verified"
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("not verified: ") and printed.err.count("\n") == 1
    assert printed.err[:-1].isprintable() and 30 < len(printed.err) < 1_100
    return printed.err


def nodes(tree):
    """Every place in a tree of JSON: its parent and its key."""
    keys = list(tree) if isinstance(tree, dict) else range(len(tree))
    for key in keys:
        yield tree, key
        if isinstance(tree[key], dict | list):
            yield from nodes(tree[key])


# Certificates: each takes the text and a source of chance, and returns another text


def nudged(text: str, rng: random.Random) -> str:
    """One number a little larger or smaller."""
    tree = json.loads(text)
    numbers = [
        (parent, key)
        for parent, key in nodes(tree)
        if isinstance(parent[key], int | float) and not isinstance(parent[key], bool)
    ]
    parent, key = rng.choice(numbers)
    step = 10 ** -rng.uniform(0, 8)
    value = parent[key]
    parent[key] = value + rng.choice((-1, 1)) * (
        max(1, round(abs(value) * step)) if isinstance(value, int) else max(abs(value), 1e-3) * step
    )
    return json.dumps(tree)


def swapped(text: str, rng: random.Random) -> str:
    """The values of two keys of one object, or two entries of one list, change places."""
    tree = json.loads(text)
    several = [parent[key] for parent, key in nodes(tree) if isinstance(parent[key], dict | list)]
    place = rng.choice([tree, *(node for node in several if len(node) > 1)])
    keys = list(place) if isinstance(place, dict) else range(len(place))
    one, other = rng.sample(list(keys), 2)
    place[one], place[other] = place[other], place[one]
    return json.dumps(tree)


def without(text: str, rng: random.Random) -> str:
    """One key or entry is missing."""
    tree = json.loads(text)
    parent, key = rng.choice(list(nodes(tree)))
    del parent[key]
    return json.dumps(tree)


def renamed(text: str, rng: random.Random) -> str:
    """One key is spelt otherwise."""
    tree = json.loads(text)
    parent, key = rng.choice([node for node in nodes(tree) if isinstance(node[0], dict)])
    parent[f"{key} "] = parent.pop(key)
    return json.dumps(tree)


def twice(text: str, rng: random.Random) -> str:
    """One field comes twice, with another value the second time."""
    tree = json.loads(text)
    key = rng.choice(list(tree))
    return f"{text.rstrip()[:-1]}, {json.dumps(key)}: {rng.choice(('0', 'null', '[]'))}}}"


def cut(text: str, rng: random.Random) -> str:
    """The end is missing."""
    return text[: rng.randrange(len(text) - 3)]


def otherwise(text: str, rng: random.Random) -> str:
    """One value is of another kind."""
    tree = json.loads(text)
    parent, key = rng.choice(list(nodes(tree)))
    parent[key] = rng.choice((None, True, "x", -1, 1e300, [], {}, [[[]]], {"__class__": "os"}))
    return json.dumps(tree)


CERTIFICATES = (nudged, swapped, without, renamed, twice, cut, otherwise)


def test_certificates_that_were_changed(whole, tmp_path, capsys):
    text = (whole / "certificate.json").read_text(encoding="utf-8")
    rng = random.Random(0)
    path = tmp_path / "certificate.json"
    tried = Counter()
    while tried.total() < times(210, 1_000):
        mutation = CERTIFICATES[tried.total() % len(CERTIFICATES)]
        changed = mutation(text, rng)
        if mutation in (swapped, nudged, otherwise) and json.loads(changed) == json.loads(text):
            continue
        path.write_text(changed, encoding="utf-8")
        refused(path, whole / "losses.npz", capsys)
        tried[mutation.__name__] += 1
    with capsys.disabled():
        print(f"\ncertificates: {dict(tried)}: none verifies")


# Losses: each takes the members of the archive, and writes another one


def members(npz: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(npz)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def unpacked(data: bytes) -> np.ndarray:
    return np.lib.format.read_array(io.BytesIO(data))


def packed(array: np.ndarray, *, pickle_objects: bool = False) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=pickle_objects)
    return stream.getvalue()


def archived(content: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return stream.getvalue()


def array_of(content: dict[str, bytes], rng: random.Random) -> tuple[str, np.ndarray]:
    name = rng.choice([name for name in content if name != "header.npy"])
    return name, unpacked(content[name])


def number_nudged(npz: bytes, rng: random.Random, mark: Path) -> bytes:
    """The last bit of one number."""
    content = members(npz)
    name, array = array_of(content, rng)
    flat = array.reshape(-1)
    at = rng.randrange(flat.size)
    if array.dtype.kind == "f":
        flat[at] = np.nextafter(flat[at], np.inf)
    else:
        flat[at] = flat[at] ^ 1 if array.dtype.kind != "b" else not flat[at]
    return archived(content | {name: packed(array)})


def keys_swapped(npz: bytes, rng: random.Random, mark: Path) -> bytes:
    """Two arrays under each other's names."""
    content = members(npz)
    one, other = rng.sample(list(content), 2)
    content[one], content[other] = content[other], content[one]
    return archived(content)


def array_missing(npz: bytes, rng: random.Random, mark: Path) -> bytes:
    content = members(npz)
    del content[rng.choice(list(content))]
    return archived(content)


def array_twice(npz: bytes, rng: random.Random, mark: Path) -> bytes:
    name, array = array_of(members(npz), rng)
    stream = io.BytesIO(npz)
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr(name, packed(array))
    return stream.getvalue()


def file_cut(npz: bytes, rng: random.Random, mark: Path) -> bytes:
    return npz[: rng.randrange(len(npz) - 1)]


def bomb(npz: bytes, rng: random.Random, mark: Path) -> bytes:
    """An array of zeros that is a thousand times as large when it is unpacked."""
    content = members(npz)
    name, _ = array_of(content, rng)
    size = BOMB if rng.random() < 0.1 else BOMB // 64
    return archived(content | {name: packed(np.zeros(size // 8))})


def objects(npz: bytes, rng: random.Random, mark: Path) -> bytes:
    """An array of objects, one of which would run something if it were unpickled."""
    content = members(npz)
    name = rng.choice([*content, "extra.npy"])
    array = np.array([Executed(mark)] * rng.randrange(1, 4), dtype=object)
    return archived(content | {name: packed(array, pickle_objects=True)})


def only_pickle(npz: bytes, rng: random.Random, mark: Path) -> bytes:
    """No archive at all, but what numpy would unpickle if it were allowed to."""
    data = pickle.dumps(Executed(mark), protocol=rng.randrange(6))
    return data if rng.random() < 0.5 else archived(members(npz) | {"ids.npy": data})


def header_changed(npz: bytes, rng: random.Random, mark: Path) -> bytes:
    content = members(npz)
    text = str(unpacked(content["header.npy"]))
    mutation = rng.choice((nudged, without, renamed, twice, otherwise))
    changed = mutation(text, rng)
    while changed == text or (mutation is not twice and json.loads(changed) == json.loads(text)):
        changed = otherwise(text, rng)
    return archived(content | {"header.npy": packed(np.array(changed))})


RECORDS = (
    number_nudged,
    keys_swapped,
    array_missing,
    array_twice,
    file_cut,
    bomb,
    objects,
    only_pickle,
    header_changed,
)


def test_losses_that_were_changed(whole, tmp_path, capsys):
    npz = (whole / "losses.npz").read_bytes()
    same = random_losses().fingerprint()
    rng = random.Random(1)
    path = tmp_path / "losses.npz"
    mark = tmp_path / "executed"
    tried = Counter()
    while tried.total() < times(207, 1_000):
        mutation = RECORDS[tried.total() % len(RECORDS)]
        changed = mutation(npz, rng, mark)
        if mutation is keys_swapped and members(changed) == members(npz):
            continue
        path.write_bytes(changed)
        refused(whole / "certificate.json", path, capsys)
        assert not mark.exists(), "something was executed"
        tried[mutation.__name__] += 1
    assert SequenceLosses.load(whole / "losses.npz").fingerprint() == same
    with capsys.disabled():
        print(f"\nlosses: {dict(tried)}: none verifies, none executes anything")


def test_the_mark_would_be_there_if_something_were_executed(tmp_path):
    """What the test above would see of a reader that unpickles."""
    mark = tmp_path / "executed"
    pickle.loads(pickle.dumps(Executed(mark)))
    assert mark.exists()
