"""Files from anybody are read strictly."""

import json
import time

import pytest

from saecert.untrusted import parse_json, read_json


def test_json_is_read_strictly(tmp_path):
    path = tmp_path / "file.json"
    value = {"a": [1, -2.5, None, True, "é"], "b": {"c": [[]]}, "n": 2**64 - 1}
    path.write_text(json.dumps(value))
    assert read_json(path) == value
    assert read_json(path, max_depth=4) == value
    with pytest.raises(
        ValueError, match=r"file.json is not a whole JSON file \(nested deeper than 3"
    ):
        read_json(path, max_depth=3)
    for text, said in {
        '{"a": 1, "a": 1}': "'a' comes twice",
        "[NaN]": "NaN is not a finite",
        "[-1e400]": "-1e400 is not a finite",
        str(2**64): "more than 64 bits",
        '["\\ud800"]': "surrogates not allowed",
        "[1": "is not a whole JSON file",
        "": "is not a whole JSON file",
    }.items():
        path.write_text(text)
        with pytest.raises(ValueError, match=said):
            read_json(path)
    with pytest.raises(ValueError, match="larger than the 10 bytes"):
        path.write_text(" " * 11)
        read_json(path, max_bytes=10)
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none")


def test_a_name_that_comes_twice_among_very_many_is_found_in_one_pass():
    members = ", ".join(f'"{number}": 1' for number in range(60_000))
    start = time.process_time()  # its own: other processes may hold it up
    with pytest.raises(ValueError, match="'59999' comes twice"):
        parse_json(f'{{{members}, "59999": 1}}')
    assert time.process_time() - start < 5
