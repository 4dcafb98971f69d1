"""Files from anybody: whatever is in them, the answer is a line, and nothing large is unpacked."""

from __future__ import annotations

import io
import itertools
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from synthetic_losses import random_losses

from saecert.__main__ import main
from saecert.certificates.certificate import Certificate, certify
from saecert.records import SequenceLosses

INFLATED = 1_500 * 2**20


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[str, bytes]:
    """Text of a certificate and bytes of the losses file behind it."""
    folder = tmp_path_factory.mktemp("whole")
    losses = random_losses()
    certify(losses, inequality="hoeffding").save(folder / "certificate.json")
    losses.save(folder / "losses.npz")
    text = (folder / "certificate.json").read_text(encoding="utf-8")
    return text, (folder / "losses.npz").read_bytes()


def refused(path: Path, kind: type) -> str:
    """The message with which a file is refused: it names the file, and is short."""
    with pytest.raises(ValueError, match=path.name) as caught:
        kind.load(path)
    assert len(str(caught.value)) < 1_000
    return str(caught.value)


# JSON


def hostile_values() -> Iterator[tuple[str, str]]:
    """JSON of a value that no field has, and what the refusal says of it."""
    yield "[" * 990 + "]" * 990, "nested deeper"
    yield '{"a":' * 990 + "1" + "}" * 990, "nested deeper"
    yield "[" * 100_000 + "]" * 100_000, "nested deeper"
    yield "9" * 400, "more than 64 bits"
    yield "-" + "9" * 5_000, "more than 64 bits"
    yield "1e400", "not a finite number"
    yield "NaN", "not a finite number"
    yield "-Infinity", "not a finite number"
    yield '"\\ud800"', "surrogates not allowed"
    yield '{"twice": 1, "twice": 2}', "'twice' comes twice in one object"


@pytest.mark.parametrize(("value", "reason"), list(hostile_values()), ids=lambda text: text[:12])
def test_json_that_no_field_holds(value, reason, whole, tmp_path):
    text, _ = whole
    path = tmp_path / "certificate.json"
    for name, stored in json.loads(text).items():
        written = f'"{name}": {json.dumps(stored, indent=1)}'.replace("\n", "\n ")
        assert written in text
        path.write_text(text.replace(written, f'"{name}": {value}'), encoding="utf-8")
        assert reason in refused(path, Certificate)


@pytest.mark.parametrize("value", ["true", "null", "7", "[]", '{"a": []}'])
def test_fields_of_another_type(value, whole, tmp_path):
    """At every depth: each node of the certificate in turn."""
    text, npz = whole
    content = json.loads(text)
    path = tmp_path / "certificate.json"
    losses = tmp_path / "losses.npz"
    losses.write_bytes(npz)
    record = SequenceLosses.load(losses)
    for parent, key in list(_nodes(content)):
        stored = parent[key]
        parent[key] = json.loads(value)
        if parent[key] != stored:
            path.write_text(json.dumps(content), encoding="utf-8")
            with pytest.raises(ValueError, match=r"\w{3,}"):
                Certificate.load(path).verify(record)
        parent[key] = stored


def _nodes(tree) -> Iterator[tuple[dict | list, str | int]]:
    keys = list(tree) if isinstance(tree, dict) else range(len(tree))
    for key in keys:
        yield tree, key
        if isinstance(tree[key], dict | list):
            yield from _nodes(tree[key])


def test_a_certificate_that_is_cut_short_anywhere(whole, tmp_path):
    text, _ = whole
    path = tmp_path / "certificate.json"
    for end in range(0, len(text) - 2, 97):
        path.write_text(text[:end], encoding="utf-8")
        assert "not a whole JSON file" in refused(path, Certificate)
    path.write_bytes(text.encode() + b"\xff")
    assert "not a whole JSON file" in refused(path, Certificate)


def test_a_certificate_without_end(tmp_path):
    path = tmp_path / "certificate.json"
    with path.open("wb") as stream:
        stream.truncate(2**33)
    assert "more than 16,777,216 bytes" in refused(path, Certificate)


# Losses


def read_or_refused(path: Path) -> str | None:
    """Fingerprint of what the file holds, None if it is refused by name."""
    try:
        return SequenceLosses.load(path).fingerprint()
    except ValueError as error:
        return None if path.name in str(error) else str(error)


def members(npz: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(npz)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, content: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)


def packed(array: np.ndarray, *, pickle: bool = False) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=pickle)
    return stream.getvalue()


def unpacked(data: bytes) -> np.ndarray:
    return np.lib.format.read_array(io.BytesIO(data))


def declaring(shape: tuple[int, ...], dtype: str = "<f8") -> bytes:
    """The header of an array with nothing behind it."""
    stream = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue()


def test_what_was_not_changed_is_read(whole, tmp_path):
    _, npz = whole
    path = tmp_path / "losses.npz"
    write(path, members(npz))
    assert SequenceLosses.load(path).fingerprint() == random_losses().fingerprint()


def test_arrays_that_do_not_belong(whole, tmp_path):
    _, npz = whole
    path = tmp_path / "losses.npz"
    strange = (
        "extra.npy",
        "losses/full.npy",
        "loss.npy",
        "loss/.npy",
        "../loss/x.npy",
        "notes.txt",
    )
    for name in (*strange, "discovery/losses/discovery/losses/ids.npy", "discovery/other.npy"):
        write(path, members(npz) | {name: packed(np.ones(60))})
        assert "does not belong in it" in refused(path, SequenceLosses)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("name", ["extra.npy", "raw/clean.npy", "ids.npy", "header.npy"])
def test_a_large_array_is_refused_before_it_is_unpacked(name, whole, tmp_path):
    """1.5 GB of zeros in 1.5 MB, read by a process that may have 1 GB more than it needs."""
    _, npz = whole
    path = tmp_path / "losses.npz"
    content = members(npz)
    content.pop(name, None)
    write(path, content)
    header = declaring((INFLATED,), "|b1")
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open(name, "w") as stream,
    ):
        stream.write(header)
        for _ in range(INFLATED // 2**20):
            stream.write(bytes(2**20))
    code = (
        "import re, sys; from saecert.records import SequenceLosses\n"
        "try: SequenceLosses.load(sys.argv[1])\n"
        "except ValueError as error: print(error)\n"
        # of this process alone: getrusage starts at what the process before it had
        "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    *message, peak = done.stdout.splitlines()
    assert "losses.npz" in message[0]
    assert int(peak) < 700 * 1024, "kilobytes"


def test_every_array_of_another_shape_or_type(whole, tmp_path):
    """Each one shortened, widened, of floats for integers or integers for floats, of text."""
    _, npz = whole
    content = members(npz)
    path = tmp_path / "losses.npz"
    for name, data in content.items():
        array = unpacked(data)
        changed = [array[None], packed_as(array, "U"), packed_as(array, "c")]
        if array.ndim:
            changed += [array[:-1], array[..., :-1], np.concatenate([array, array[-1:]])]
            changed.append(array.astype("i8" if array.dtype.kind == "f" else "f8"))
        for other in changed:
            if (
                name.endswith("l0.npy")
                and other.shape[:1] == array.shape[:1]
                and other.dtype.kind in "iu"
            ):
                continue  # any length of window will do
            write(path, content | {name: packed(other)})
            assert name in refused(path, SequenceLosses) or name, other.shape


def packed_as(array: np.ndarray, kind: str) -> np.ndarray:
    return np.zeros(array.shape, {"U": "U3", "c": "c16"}[kind])


def test_arrays_that_are_missing(whole, tmp_path):
    """A table may lack an entry; then it is another record, with another fingerprint."""
    _, npz = whole
    content = members(npz)
    path = tmp_path / "losses.npz"
    fingerprint = random_losses().fingerprint()
    for name in content:
        write(path, {other: data for other, data in content.items() if other != name})
        assert read_or_refused(path) != fingerprint


def test_arrays_that_are_swapped_are_another_record(whole, tmp_path):
    text, npz = whole
    content = members(npz)
    (tmp_path / "certificate.json").write_text(text, encoding="utf-8")
    certificate = Certificate.load(tmp_path / "certificate.json")
    path = tmp_path / "losses.npz"
    names = list(content)
    for one, other in itertools.pairwise(names):
        if content[one] == content[other]:
            continue
        write(path, content | {one: content[other], other: content[one]})
        with pytest.raises(ValueError, match=r"losses.npz|fingerprint"):
            certificate.verify(SequenceLosses.load(path))


def test_headers_of_arrays_that_lie(whole, tmp_path):
    _, npz = whole
    content = members(npz)
    path = tmp_path / "losses.npz"
    lies = [
        declaring((60,)),
        declaring((2**62,)),
        declaring((2**40, 2**40)),
        declaring((0,)),
        declaring((60,), "|O") + bytes(480),
        packed(np.array([{}, 1], dtype=object), pickle=True),
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x09\x00" + bytes(100),
        b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65_535,
    ]
    for name in ("ids.npy", "raw/clean.npy", "header.npy", "discovery/order.npy"):
        for lie in lies:
            write(path, content | {name: lie})
            refused(path, SequenceLosses)


def changed_headers(header: dict) -> Iterator[str]:
    """The JSON header of a record with one field of another type, missing, or with one too many."""
    for name in header:
        yield json.dumps({key: value for key, value in header.items() if key != name})
        for value in (True, "x", -1, 1.5, [1], [[1]], {"a": 1}, {"a": [1]}, {"a": [[1, 2, 3]]}):
            allowed = (name == "provenance" and isinstance(value, dict)) or header[name] == value
            if not allowed:
                yield json.dumps(header | {name: value})
        for text in ("9" * 400, "1e400", "NaN", "[" * 990 + "]" * 990):
            others = json.dumps({key: value for key, value in header.items() if key != name})
            yield f'{others[:-1]}, "{name}": {text}}}'
    yield json.dumps(header | {"more": 1})
    yield json.dumps(header)[:-1] + ', "d_sae": 16}'
    yield json.dumps(header | {"provenance": {"n": [1]}}).replace("[1]", "9" * 400)
    yield from ("[]", "1", "", "[" * 100_000)


def test_headers_of_another_kind(whole, tmp_path):
    _, npz = whole
    content = members(npz)
    header = json.loads(str(unpacked(content["header.npy"])))
    path = tmp_path / "losses.npz"
    tried = 0
    for text in changed_headers(header):
        write(path, content | {"header.npy": packed(np.array(text))})
        refused(path, SequenceLosses)
        tried += 1
    assert tried > 90
    inner = header["discovery_losses"]
    for text in changed_headers(inner):
        outer = json.dumps(header | {"discovery_losses": None}).replace(
            '"discovery_losses": null', f'"discovery_losses": {text}'
        )
        write(path, content | {"header.npy": packed(np.array(outer))})
        refused(path, SequenceLosses)


def test_a_losses_file_that_is_cut_short_or_has_a_flipped_bit(whole, tmp_path):
    _, npz = whole
    path = tmp_path / "losses.npz"
    for end in range(0, len(npz), 997):
        path.write_bytes(npz[:end])
        refused(path, SequenceLosses)
    rng = np.random.default_rng(0)
    fingerprint = random_losses().fingerprint()
    for at in rng.integers(len(npz), size=300):
        damaged = bytearray(npz)
        damaged[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        assert read_or_refused(path) in (fingerprint, None)  # a bit of a time stamp may change


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_array_that_comes_twice(whole, tmp_path):
    _, npz = whole
    path = tmp_path / "losses.npz"
    path.write_bytes(npz)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("ids.npy", packed(np.arange(60, dtype=np.uint64)))
    assert "'ids' is in it twice" in refused(path, SequenceLosses)


# From a shell


def test_every_failure_is_one_line(whole, tmp_path, capsys):
    text, npz = whole
    certificate = tmp_path / "certificate.json"
    losses = tmp_path / "losses.npz"
    content = members(npz)
    tall = text.replace('"seed": 0', '"seed": ' + "[" * 990 + "]" * 990)
    loud = text.replace("made up", "a\\u001b[31m\\nverified: all\\r")
    cases = [
        (tall, npz),
        (text.replace('"seed": 0', '"seed": ' + "9" * 400), npz),
        (loud, npz),
        (text.replace('"seed": 0', '"seed": -1'), npz),
        (text.replace('"method": "fixed"', '"method": "a\\nb"'), npz),
        (text, npz[:1000]),
        (text, b""),
    ]
    for forged, data in cases:
        assert (forged, data) != (text, npz)
        certificate.write_text(forged, encoding="utf-8")
        losses.write_bytes(data)
        assert main(["verify", str(certificate), str(losses)]) == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("not verified: ")
        assert printed.err.count("\n") == 1 and printed.err[:-1].isprintable()
    certificate.write_text(text, encoding="utf-8")
    write(losses, content | {"extra.npy": packed(np.ones(3))})
    assert main(["verify", str(certificate), str(losses)]) == 1
    assert "'extra.npy' does not belong in it" in capsys.readouterr().err


def test_a_sample_that_a_check_refuses_is_one_line_too(whole, tmp_path, capsys):
    """The message of the library has a line for each finding."""
    text, _ = whole
    losses = random_losses().take(np.array([*range(59), 7]))
    losses.save(tmp_path / "losses.npz")
    content = json.loads(text) | {"fingerprint": losses.fingerprint()}
    (tmp_path / "certificate.json").write_text(json.dumps(content), encoding="utf-8")
    names = ("certificate.json", "losses.npz")
    assert main(["verify", *(str(tmp_path / name) for name in names)]) == 1
    printed = capsys.readouterr().err
    assert "duplicates = 1 in 60 sequences" in printed
    assert printed.count("\n") == 1
