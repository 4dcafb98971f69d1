"""The table of models: certificates in files, computed again, and bounds as others print them."""

from dataclasses import replace

import pytest
from synthetic_losses import random_losses

from saecert.certificates.certificate import certify
from saecert.reporting import models

PROVENANCE = {"subject": "toy", "corpus": "texts.jsonl", "hook_name": "blocks.0.hook_resid_post"}


def losses(seed=0, n_seq=60):
    record = random_losses(n_seq, seed)
    return replace(record, provenance=record.provenance | PROVENANCE)


def test_certificates_are_read_from_a_folder_and_from_the_run(tmp_path, monkeypatch):
    certify(losses()).save(tmp_path / "a" / "one.json")
    (tmp_path / "a" / "schema.json").write_text("{}")
    certify(losses(), delta=0.1).save(tmp_path / "run" / "certificates" / "two.json")
    assert list(models.load_certificates(tmp_path / "a")) == ["one.json"]
    monkeypatch.setenv("SAECERT_RUN", str(tmp_path / "run"))
    assert list(models.load_certificates(tmp_path / "a")) == ["one.json", "two.json"]


def test_a_folder_without_certificates_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no certificates in"):
        models.load_certificates(tmp_path)


def test_certificates_are_told_apart_by_subject_and_text():
    made = {"a": certify(losses())}
    assert list(models.certificates_of(made, "folder/toy", "somewhere/texts.jsonl")) == ["a"]
    assert not models.certificates_of(made, "toy", "others.jsonl")
    assert not models.certificates_of(made, "another", "texts.jsonl")


def test_the_same_losses_give_every_value_again():
    stored = certify(losses())
    (row,) = models.recomputed({"a": stored}, {"a": losses()}).itertuples()
    assert row.same
    assert row.values > 100
    frame = models.recomputed({"a": stored}, {"a": losses()})
    assert frame.loc["a", "bound again"] == stored.bound


def test_when_and_where_losses_were_measured_is_no_number():
    later = losses()
    later = replace(later, provenance=later.provenance | {"measured": {"date": "later"}})
    frame = models.recomputed({"a": certify(losses())}, {"a": later})
    assert frame.loc["a", "values"] > 100


def test_late_digits_may_differ_and_a_bound_may_not():
    stored = certify(losses())
    near = losses()
    near = replace(near, loss=near.loss | {"clean": near.loss["clean"] + 1e-6})
    row = models.recomputed({"a": stored}, {"a": near}).loc["a"]
    assert row["same"]
    assert row["values"] == 0
    far = replace(near, loss=near.loss | {"clean": near.loss["clean"] + 0.1})
    assert not models.recomputed({"a": stored}, {"a": far}).loc["a", "same"]


def test_losses_are_asked_for_at_the_size_hook_point_and_alpha_of_each_file():
    asked = []

    class Study:
        def beside(self, n_seq):
            self.n_seq = n_seq
            return self

        def losses(self, hook_names, alphas):
            asked.append((self.n_seq, hook_names, alphas))
            return {hook: losses(n_seq=self.n_seq) for hook in hook_names}

    small, large = losses(n_seq=30), losses()
    made = {"a": certify(large), "b": certify(small), "c": certify(large, delta=0.1)}
    given = models.losses_of(made, Study())
    hook = PROVENANCE["hook_name"]
    assert asked == [(30, [hook], [0.5]), (60, [hook], [0.5])]
    assert {name: len(record) for name, record in given.items()} == {"a": 60, "b": 30, "c": 60}


def test_another_sample_is_said_to_be_one():
    other = losses()
    other = replace(other, ids=other.ids[::-1].copy())
    row = models.recomputed({"a": certify(losses())}, {"a": other}).loc["a"]
    assert not row["same sample"]
    assert not row["same"]


def test_losses_that_cannot_be_certified_alike_are_of_another_sample():
    row = models.recomputed({"a": certify(losses())}, {"a": losses(n_seq=30)}).loc["a"]
    assert not row["same sample"]
    assert row["values"] == 0


def test_rows_are_ordered_for_a_reader():
    made = {"b": certify(losses(), delta=0.1), "a": certify(losses())}
    frame = models.rows_of_models(made)
    assert set(frame["label"]) == {"toy blocks.0.hook_resid_post"}
    assert list(frame.index) == ["b", "a"]


def test_rows_are_shown_by_layer_without_what_the_note_says():
    made = {"a": certify(losses(), alpha=0.5), "b": certify(losses(), alpha=0.5, delta=0.1)}
    table, of_subject = models.shown_rows(models.rows_of_models(made))
    assert of_subject == " of toy"
    assert table.index.names == ["layer", "alpha"]
    assert list(table.columns[:2]) == ["delta", "k"]
    assert models.settings_of(made).startswith("n = 60, delta = 0.05 or 0.1, alpha = 0.5, k = ")


def test_a_row_says_which_of_its_bounds_is_meant():
    made = certify(losses())
    assert made.sharp < made.bound
    frame = models.rows_of_models({"a": made})
    shown = models.shown_rows(frame)[0].iloc[0]
    assert shown["share of uniform (sharp)"] == made.sharp / made.uniform
    assert shown["below uniform (sharp)"] == made.uniform - made.sharp
    drawn = models.shares_of_bounds(frame).iloc[0]
    assert drawn["share of uniform"] == made.bound / made.uniform


def test_rows_of_several_subjects_name_them():
    another = losses()
    another = replace(another, provenance=another.provenance | {"subject": "another"})
    made = {"a": certify(losses()), "b": certify(another)}
    table, of_subject = models.shown_rows(models.rows_of_models(made))
    assert of_subject == ""
    assert set(table.index.get_level_values("subject")) == {"toy", "another"}


def test_printed_bounds_as_a_table():
    table = models.printed_table(models.printed_bounds())
    assert list(table.columns[[0, -1]]) == ["20,000", "500,000"]
    assert table.loc[("Gemma-2B", "as printed"), "20,000"] == 18.9


def test_printed_bounds_are_flat_without_their_penalties():
    frame = models.printed_bounds()
    spread = frame.groupby("label")["without penalties"].agg(["min", "max"])
    assert ((spread["max"] - spread["min"]) / spread["min"] < 0.03).all()
    assert len(frame) == 10


def test_models_without_a_row():
    assert models.without_row(["toy", "gpt2-small"], {"a": certify(losses())}) == ["gpt2-small"]
