"""What a certificate takes: torch's count of operations, and arithmetic on it."""

import pandas as pd
import pytest
from checks import ROOT

from saecert.reporting import costs
from saecert.reporting.settings import PAPER
from saecert.subjects.registry import PAPER as PUBLISHED

STUDIED = ("gpt2-small", "gemma-2b", "llama-3.1-8b")
ROW = pd.Series(
    {
        "model": "m",
        "weights": 1000,
        "P_blocks": 600,
        "P_unembed": 300,
        "P_SAE": 50,
        "behind": 0.5,
        "bytes": 4,
    }
)


def test_the_names_known_without_torch_are_those_of_the_registry():
    assert tuple(PUBLISHED) == PAPER


def test_operations_by_hand():
    assert costs.operations(ROW, 0) == 2 * (600 + 300 + 50)
    assert costs.operations(ROW, 7) == 2 * (4.5 * 600 + 8 * 300 + 50)


def test_estimates_by_hand():
    frame = costs.estimates(ROW.to_frame().T, n_seq=300, rate=1.0)
    per_token = 300 * 2 * (4.5 * 600 + 8 * 300 + 50)
    per_token += 500 * 2 * (3.5 * 600 + 6 * 300 + 50)
    per_token += 100 * 2 * (0.5 * 600 + 50)
    assert frame.loc[0, "hours"] == pytest.approx(128 * per_token / 3600)
    assert frame.loc[0, "memory (GB)"] == pytest.approx(3 + 1050 * 4e-9)


def test_shards_by_hand():
    row = ROW.to_frame().T
    frame = costs.per_shard(row, n_seq=300, n_shards=4, rate=1.0)
    whole = costs.estimates(row, n_seq=300, rate=1.0)
    per_token = 300 / 4 * 2 * (4.5 * 600 + 8 * 300 + 50)
    assert frame.loc[0, "hours a shard"] == pytest.approx(128 * per_token / 3600)
    together = 4 * frame["hours a shard"] + frame["hours beforehand"]
    assert together[0] == pytest.approx(whole.loc[0, "hours"])
    assert frame.loc[0, "memory (GB)"] == whole.loc[0, "memory (GB)"]
    with pytest.raises(ValueError, match="n_shards must be at least 1, got 0"):
        costs.per_shard(row, n_seq=300, n_shards=0, rate=1.0)


def test_the_table_of_the_book_is_this_arithmetic():
    """Memory and hours a shard on the page on scaling out, at the rates that it names."""
    page = (ROOT / "book/scale_out.md").read_text(encoding="utf-8")
    rows = [dict(model=model, **costs.counted_operations(model)[0]) for model in STUDIED]
    for rate in (5e11, 1.25e14):
        frame = costs.per_shard(pd.DataFrame(rows), n_seq=70_000, n_shards=64, rate=rate)
        for _, row in frame.iterrows():
            hours = (row["hours a shard"], row["hours beforehand"])
            times = map(_in_words, hours)
            cells = (f"`{row['model']}`", f"{row['memory (GB)']:.0f} GB", *times)
            assert f"| {' | '.join(cells)} |" in page


def _in_words(hours):
    """Minutes, or seconds below one, with two digits."""
    number, unit = (60 * hours, "min") if hours * 60 >= 1 else (3600 * hours, "s")
    return f"{float(f'{number:.2g}'):g} {unit}"


@pytest.mark.parametrize("model", PAPER)
def test_torch_counts_two_operations_a_weight(model):
    (row,) = costs.counted_operations(model)
    assert 1 <= row["per weight"] < 1.02
    assert row["P_SAE"] == 2 * costs.weights_of(model.split("-")[0]).d_in * PUBLISHED[model].d_sae
    assert row["hook_name"] in PUBLISHED[model].saes
    assert 0 < row["behind"] < 1


def test_weights_of_gpt2():
    weights = costs.weights_of("gpt2")
    assert weights.unembedding == 50_257 * 768
    assert weights.total == weights.blocks + weights.unembedding


def test_counted_operations_are_printed_in_billions():
    counted = [dict(model=model, **costs.counted_operations(model)[0]) for model in STUDIED]
    rows = pd.DataFrame(counted)
    table = costs.counted_table(rows)
    first = rows.iloc[0]
    assert list(table.index) == list(STUDIED)
    assert table["weights (billions)", "blocks"].iloc[0] == first["P_blocks"] / 1e9
    assert table["operations a token", "billions"].iloc[0] == first["counted"] / 1e9
    beyond = table["operations a token", "beyond two a weight (%)"]
    assert beyond.between(0, 1.5).all()
