"""Arguments of `load_subject` and `collect` that are none: each is refused in a line."""

import json

import pytest
from conftest import make_sae

from saecert import collect, load_corpus, load_subject
from saecert.subjects.gguf import GGUF

HOOK = "blocks.1.hook_resid_post"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": None}, "model takes a name or a path, got None"),
        ({"model": ""}, "model takes a name or a path, got ''"),
        ({"sae": ""}, "sae takes a name or a path, got ''"),
        ({"sae": {HOOK: ""}}, "takes a name or a path, got ''"),
        ({"device": "gpu"}, "device takes 'cpu', 'cuda' or 'cuda:0', got 'gpu'"),
        ({"bos": "yes"}, "bos takes True or False, got 'yes'"),
        ({"center_writing_weights": "yes"}, "center_writing_weights takes True or False"),
        ({"hooks": 3}, "hooks takes a list, got 3"),
        ({"dtype": "int8"}, "'float32', 'bfloat16' or 'float16'"),
    ],
    ids=str,
)
def test_load_subject_names_the_argument(settings, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_subject(**settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"corpus": "file.jsonl"}, "corpus takes a corpus, such as load_corpus makes"),
        ({"controls": "x"}, "controls takes True or False"),
        ({"pools": [2.5]}, "an item of pools takes a whole number, got 2.5"),
        ({"pools": 4}, "pools takes a list, got 4"),
        ({"extra": 4}, "extra takes a list, got 4"),
        ({"alphas": "0.5"}, "alphas takes a list"),
    ],
    ids=str,
)
def test_collect_names_the_argument(subject, corpora, settings, message):
    given = {"corpus": corpora["discovery"]} | settings
    with pytest.raises(ValueError, match=message):
        collect(subject, **given)


def test_one_name_is_a_list_of_one(folders):
    assert load_subject(folders["gpt2"], hooks=HOOK).hook_names == (HOOK,)


def test_an_sae_of_an_unnamed_version_says_its_hook_point(folders, tmp_path):
    make_sae(HOOK).save_model(tmp_path)
    path = tmp_path / "cfg.json"
    settings = json.loads(path.read_text())
    settings["metadata"] = {"hook_name": HOOK}
    path.write_text(json.dumps(settings))
    assert list(load_subject(folders["gpt2"], sae=tmp_path).saes) == [HOOK]


def test_floats_are_not_quantised(tmp_path):
    assert GGUF(tmp_path, tmp_path, {"F32": 21}, 1).quantisation == ""
    assert GGUF(tmp_path, tmp_path, {"Q8_0": 2, "F32": 1}, 1).quantisation == "2 Q8_0, 1 F32"


@pytest.mark.parametrize("label", [None, "", 1.5, True])
def test_a_group_that_is_none_is_shown(subject, tmp_path, label):
    path = tmp_path / "texts.jsonl"
    path.write_text(json.dumps({"text": "one text", "by": label}) + "\n")
    with pytest.raises(ValueError, match=f"no group under 'by', which is {label!r}"):
        load_corpus(path, subject, group_column="by")
