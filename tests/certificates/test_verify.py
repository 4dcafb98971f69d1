import copy
import dataclasses
import functools
import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from synthetic_losses import HI, make_losses, random_losses

from saecert.__main__ import main
from saecert.certificates.certificate import Certificate, certify
from saecert.certificates.checks import BY_GROUP, CHECKS, REPORTED, UNITS
from saecert.certificates.delta import QUANTITIES
from saecert.certificates.files import SCHEMA, compare
from saecert.certificates.pool_rules import METHODS, PRIORS, WEIGHTS
from saecert.records import Discovery, SequenceLosses
from saecert.statistics.inequalities import INEQUALITIES

PUBLISHED = json.loads(
    (Path(__file__).resolve().parents[2] / "certificates/schema.json").read_text(encoding="utf-8")
)
METHOD = {
    "fixed": {"tolerance": 0.1, "budget": {"bound": 0.03, "price": 0.02}, "n_seq": 50},
    "nested": {"method": "nested", "pool": [8, 4], "seed": 3, "prior": "discovery"},
    "in_sample": {"method": "in_sample", "allow": ("duplicates",)},
}


@functools.cache
def record(method: str = "fixed") -> SequenceLosses:
    """Losses with provenance of some depth; with a repeated sequence for "in_sample"."""
    losses = random_losses()
    losses = dataclasses.replace(
        losses,
        provenance=losses.provenance | {"versions": {"numpy": "2"}, "notes": ["one"], "bos": True},
    )
    return losses.take(np.array([*range(59), 7])) if method == "in_sample" else losses


def saved(method: str, path: Path) -> dict:
    """Content of a saved certificate."""
    certify(record(method), inequality="hoeffding", **METHOD[method]).save(path)
    return json.loads(path.read_text(encoding="utf-8"))


def places(tree, at=()):
    """Paths of every node of a JSON tree but the root."""
    children = (
        tree.items()
        if isinstance(tree, dict)
        else enumerate(tree)
        if isinstance(tree, list)
        else ()
    )
    for key, value in children:
        yield (*at, key)
        yield from places(value, (*at, key))


def mutations(value):
    """Other values for one node: numbers nudged, strings changed, lists shortened; then of another
    type, or with a key too few or many.
    """
    if isinstance(value, bool):
        return [not value, int(value)]
    if isinstance(value, int):
        return [value + 1, str(value)]
    if isinstance(value, float):
        return [value * (1 + 1e-6) if value else 1e-6, None]
    if isinstance(value, str):
        return [value + "x", 5]
    if isinstance(value, list):
        return ([value[:-1]] if value else [["x"]]) + [None]
    if isinstance(value, dict):
        return [value | {"more": 1}, []] + [
            {key: entry for key, entry in value.items() if key != removed} for removed in value
        ]
    return [1.0, "x"]


def replaced(tree, at, value):
    """A copy of the tree with one node replaced."""
    tree = copy.deepcopy(tree)
    node = functools.reduce(lambda parent, key: parent[key], at[:-1], tree)
    node[at[-1]] = value
    return tree


@pytest.mark.parametrize("method", METHOD)
def test_no_edited_certificate_is_verified(method, tmp_path):
    path = tmp_path / "certificate.json"
    losses = record(method)
    content = saved(method, path)
    assert Certificate.load(path).verify(losses) > 150
    tried = 0
    for at in places(content):
        node = functools.reduce(lambda parent, key: parent[key], at, content)
        for value in mutations(node) if method == "fixed" else mutations(node)[:1]:
            path.write_text(json.dumps(replaced(content, at, value)))
            with pytest.raises(ValueError, match=r"\w{3,}"):
                Certificate.load(path).verify(losses)
            tried += 1
    for name in content:
        path.write_text(json.dumps({key: value for key, value in content.items() if key != name}))
        with pytest.raises(ValueError, match="schema|missing or unknown fields"):
            Certificate.load(path)
    assert tried > 200


def test_no_second_value_under_a_name_that_was_verified(tmp_path):
    """People read the first value of a name, programs the last."""
    path = tmp_path / "certificate.json"
    content = json.dumps(saved("fixed", path))
    for forged in (
        content.replace("{", '{"population": "all text", ', 1),
        content.replace('"bound": {', '"bound": {"upper": 0.1, ', 1),
    ):
        path.write_text(forged)
        with pytest.raises(
            ValueError,
            match="certificate.json is not a whole JSON file .* comes twice in one object",
        ):
            Certificate.load(path)


def test_a_truth_value_is_no_number(tmp_path):
    path = tmp_path / "certificate.json"
    certify(record(), inequality="hoeffding", seed=0).save(path)
    path.write_text(path.read_text().replace('"seed": 0', '"seed": false'))
    with pytest.raises(ValueError, match="seed is False, not int: edited or damaged"):
        Certificate.load(path)


def test_a_small_delta_is_not_rounding():
    certificate = certify(record(), inequality="hoeffding", budget={"price": 9e-13})
    price = certificate.statements["price"] | {"delta": 0.0}
    with pytest.raises(
        ValueError, match="^statements.price.delta: the certificate says 0.0, the losses give 9e-13"
    ):
        dataclasses.replace(
            certificate, statements=certificate.statements | {"price": price}
        ).verify(record())


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("n_vocab", 5000, "^n_vocab: the certificate says 5000, the losses give 4096"),
        ("hi", 14.0, "^hi: the certificate says 14.0, the losses give 13.0"),
        (
            "alpha",
            0.4,
            "^the settings of this certificate do not certify these losses: "
            "losses were recorded at alpha in",
        ),
        ("n_seq", 49, "^sample_sha256: the certificate says '"),
        ("n_seq", 61, "n_seq must lie between 2 and the 60 sequences"),
        ("delta", 0.06, r"^groups.sharp\[1\]: the certificate says 0.05, the losses give 0.06"),
        (
            "budget",
            {"bound": 0.03, "price": 0.01},
            r"^groups.budget\[1\]: the certificate says 0.05, the losses give 0.04",
        ),
        (
            "budget",
            {"bound": 0.04, "price": 0.02},
            "the delta budget sums to 0.06, more than delta = 0.05",
        ),
        (
            "pool_rule",
            "the best one",
            "^pool_rule: the certificate says 'the best one', "
            "the losses give 'smallest measured pool",
        ),
        (
            "tolerance",
            0.11,
            "^pool_rule: the certificate says '.* below 0.1 bits', "
            "the losses give '.* below 0.11 bits'",
        ),
        ("allow", ["overlap"], r"^allow: the certificate lists 1 entries, the losses give 0"),
        ("provenance", {}, "^provenance.bos: missing from the certificate"),
    ],
)
def test_the_first_disagreement_is_named_with_both_values(field, value, message):
    certificate = certify(record(), inequality="hoeffding", **METHOD["fixed"])
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(certificate, **{field: value}).verify(record())


def test_support_and_sample_come_before_the_numbers():
    certificate = certify(record(), inequality="hoeffding", **METHOD["fixed"])
    forged = dataclasses.replace(certificate, tightness=0.5, hi=14.0)
    with pytest.raises(ValueError, match="^hi: "):
        forged.verify(record())
    with pytest.raises(ValueError, match="^tightness: the certificate says 0.5, the losses give"):
        dataclasses.replace(forged, hi=certificate.hi).verify(record())


def test_losses_of_another_subject_are_named():
    certificate = certify(record(), inequality="hoeffding")
    other = dataclasses.replace(
        record(),
        provenance=record().provenance
        | {"subject": "gpt2-small", "hook_name": "blocks.3.hook_resid_post"},
    )
    about = (
        "the certificate is about toy at blocks.0.hook_resid_post, "
        "the losses are of gpt2-small at blocks.3.hook_resid_post"
    )
    with pytest.raises(ValueError, match=f"^fingerprint: .*; {about}"):
        certificate.verify(other)
    with pytest.raises(
        ValueError, match="^fingerprint: .*; both are about toy at blocks.0.hook_resid_post"
    ):
        certificate.verify(record().take(slice(0, 59)))


@pytest.mark.parametrize("inequality", list(INEQUALITIES))
def test_a_certificate_in_memory_is_verified_too(inequality):
    assert certify(record(), method="nested", inequality=inequality).verify(record()) > 150


def test_floats_agree_to_nine_digits_and_the_rest_exactly():
    assert compare({"a": [1.0, 2, "x", None]}, {"a": [1.0 + 1e-10, 2, "x", None]}) == 4
    for stored, again, message in (
        ({"a": 1.0}, {"a": 1.0 + 1e-8}, r"a: the certificate says 1.0, the losses give 1.00000001"),
        ({"a": True}, {"a": 1}, "a: the certificate says True, the losses give 1"),
        (
            {"a": {"b": [0, 1]}},
            {"a": {"b": [0, 2]}},
            r"a.b\[1\]: the certificate says 1, the losses give 2",
        ),
        ({"a": {"b": 1}}, {"a": {}}, "a.b: no field of the certificate"),
        ({}, {"a": 1}, "^a: missing from the certificate"),
        ({"a": float("nan")}, {"a": 1.0}, "a: the certificate says nan"),
        ({"a": [1]}, {"a": {"b": 1}}, "a: the certificate says"),
    ):
        with pytest.raises(ValueError, match=message):
            compare(stored, again)


# From a shell


def shell(*arguments) -> subprocess.CompletedProcess:
    """`python -m saecert verify`, which fails if anything heavy was imported."""
    heavy = "{'torch', 'transformers', 'pandas', 'matplotlib', 'sae_lens', 'scipy.sparse'}"
    code = (
        "import sys; from saecert.__main__ import main; "
        f"code = main(['verify', *sys.argv[1:]]); heavy = {heavy} & set(sys.modules)"
    )
    return subprocess.run(
        [sys.executable, "-c", f"{code}; sys.exit(str(heavy) if heavy else code)", *arguments],
        capture_output=True,
        text=True,
    )


def test_verify_from_a_shell(tmp_path):
    path = tmp_path / "certificate.json"
    npz = tmp_path / "losses.npz"
    saved("fixed", path)
    record().save(npz)
    done = shell(str(path), str(npz))
    assert (done.returncode, done.stderr) == (0, "")
    assert "Certificate of toy at blocks.0.hook_resid_post" in done.stdout
    assert f"values of {path} follow from {npz}" in done.stdout


def test_the_shell_says_what_disagrees_or_is_missing(tmp_path, capsys):
    path = tmp_path / "certificate.json"
    npz = tmp_path / "losses.npz"
    content = saved("fixed", path)
    record().save(npz)
    cases = {
        (str(path), str(tmp_path / "nowhere.npz")): "nowhere.npz",
        (str(tmp_path / "nowhere.json"), str(npz)): "nowhere.json",
        (str(tmp_path), str(npz)): "directory",
        (str(npz), str(npz)): "not a whole JSON file",
        (str(path), str(path)): "not a whole losses file",
    }
    for arguments, message in cases.items():
        assert main(["verify", *arguments]) == 1
        assert f"not verified: {message}" in (text := capsys.readouterr().err) or message in text
    path.write_text(json.dumps(content | {"tightness": 0.5}))
    assert main(["verify", str(path), str(npz)]) == 1
    assert "not verified: tightness: the certificate says 0.5" in capsys.readouterr().err


# The published schema


@pytest.mark.parametrize("method", METHOD)
def test_saved_certificates_follow_the_published_schema(method, tmp_path):
    jsonschema.Draft202012Validator.check_schema(PUBLISHED)
    content = saved(method, tmp_path / "certificate.json")
    jsonschema.validate(content, PUBLISHED)
    for wrong in (
        {"schema": SCHEMA + 1},
        {"schema": str(SCHEMA)},
        {"more": 1},
        {"checks": {}},
        {"delta": 1.0},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(content | wrong, PUBLISHED)


def test_certificates_of_scant_records_follow_the_schema(tmp_path):
    certify(make_losses([3.0, 4.0]), pool=16, eps=()).save(tmp_path / "certificate.json")
    jsonschema.validate(json.loads((tmp_path / "certificate.json").read_text()), PUBLISHED)


def test_the_published_schema_knows_what_the_code_knows():
    fields = PUBLISHED["properties"]
    assert list(fields) == ["schema", *(field.name for field in dataclasses.fields(Certificate))]
    assert PUBLISHED["required"] == list(fields)
    assert fields["schema"]["const"] == SCHEMA
    assert fields["method"]["enum"] == list(METHODS)
    assert fields["inequality"]["enum"] == list(INEQUALITIES)
    assert fields["prior"]["enum"] == [*PRIORS, *WEIGHTS, None]
    assert fields["allow"]["items"]["enum"] == [*CHECKS, *BY_GROUP]
    assert list(fields["checks"]["properties"]) == [*CHECKS, *BY_GROUP, *REPORTED]
    assert fields["unit"]["enum"] == list(UNITS)
    assert PUBLISHED["$defs"]["statement_name"]["enum"] == list(QUANTITIES)
    for at in places(PUBLISHED):  # every field says what it is
        if at[-2:-1] == ("properties",):
            assert functools.reduce(lambda parent, key: parent[key], at, PUBLISHED)[
                "description"
            ].endswith(".")


# Bad and extreme input


def test_all_equal_losses_are_certified_by_their_sample_size_alone():
    equal = np.full(100, 3.0)
    certificate = certify(make_losses(equal, equal, {4: equal}), pool=4)
    assert certificate.bound == pytest.approx(
        HI - (HI - 3.0) * 0.05 ** (1 / 100)
    )  # a rare event that 100 sequences may have missed
    for inequality in INEQUALITIES:
        assert (
            3.0
            < certify(make_losses(equal, equal, {4: equal}), pool=4, inequality=inequality).bound
            < HI
        )
    for extreme in (certificate.lo, HI):
        flat = np.full(100, extreme)
        assert extreme <= certify(make_losses(flat, flat, {4: flat}), pool=4).bound <= HI


def test_empty_losses_are_refused():
    with pytest.raises(
        ValueError, match=r"0 sequence\(s\) measured: a certificate needs at least 2"
    ):
        make_losses([])


@pytest.mark.parametrize("inequality", list(INEQUALITIES))
def test_two_sequences_are_enough_for_a_true_statement(inequality):
    certificate = certify(
        make_losses([3.0, 4.0], pools={4: [3.0, 4.5]}), pool=4, inequality=inequality
    )
    assert 4.0 < certificate.bound <= HI
    assert certificate.verdict in (None, "uniform")
    assert certificate.verify(make_losses([3.0, 4.0], pools={4: [3.0, 4.5]})) > 100


@pytest.mark.parametrize("inequality", list(INEQUALITIES))
def test_a_bound_never_passes_the_upper_end(inequality):
    active = (
        np.random.default_rng(0).random((1, 40_000)).repeat(60, axis=0) < 0.5
    )  # half of a wide dictionary
    never = Discovery("frequency", np.arange(40_000), np.zeros(40_000, np.int64), 40)
    losses = make_losses(np.linspace(3, 5, 60), d_sae=40_000, active=active, discovery=never)
    certificate = certify(losses, method="in_sample", inequality=inequality)
    assert certificate.selection_nats > 20_000
    tiny = certify(random_losses(), inequality=inequality, delta=1e-310)  # 1 / delta overflows
    for c in (certificate, tiny):
        assert c.bound <= HI
        assert c.bound == pytest.approx(HI, abs=0.01)
        assert c.sharp == pytest.approx(HI, abs=0.01)
        for name, row in c.statements.items():
            highest = {"bound": HI, "sharp": HI, "proxy": HI, "direct": HI}.get(
                name, HI - c.lo if name in ("gap", "mismatch", "price", "signed_gap") else 1.0
            )
            assert row["upper"] is None or row["upper"] <= highest


def test_a_missing_file_is_named_with_what_to_give(tmp_path, capsys):
    assert main(["verify", str(tmp_path / "none.json"), str(tmp_path / "none.npz")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("not verified: there is no file")
    assert "none.json" in said
    assert "NPZ" in said
