"""The picture of README and first page is of what is kept, and of nothing else."""

import hashlib

import pandas as pd
import pytest
from checks import ROOT, check_front, front_pictures
from PIL import Image

from saecert.certificates.certificate import Certificate
from saecert.reporting import front

TABLE = pd.read_csv(front_pictures()[0])


def test_the_table_is_what_the_kept_measurements_give():
    again = front.front_rows()
    assert again.drop(columns=["direct", "bound", "uniform"]).equals(
        TABLE.drop(columns=["direct", "bound", "uniform"])
    )
    for name in ("direct", "bound", "uniform"):
        assert again[name].tolist() == pytest.approx(TABLE[name].tolist(), abs=1e-3)


def test_limits_are_rounded_up_and_all_at_one_delta():
    made = Certificate.load(
        ROOT / "certificates/docstring-6l-blocks.2.hook_resid_post-2902cccc-8664.json"
    )
    (row,) = TABLE[TABLE["label"] == "docstring-6l, layer 2"].to_dict("records")
    assert made.bound <= row["bound"] < made.bound + 0.001
    assert made.direct <= row["direct"] < made.direct + 0.001
    assert (TABLE["delta"] == front.DELTA).all() and (TABLE["alpha"] == front.ALPHA).all()


def test_random_stand_ins_say_nothing_and_everything_else_something():
    random = TABLE["group"] == front.RANDOM
    assert random.sum() == len(front.BASELINES)
    assert (TABLE["bound"][random] > TABLE["uniform"][random]).all()
    assert (TABLE["bound"][~random] < TABLE["uniform"][~random]).all()
    added = ((TABLE["bound"] - TABLE["direct"]) / TABLE["uniform"])[~random]
    alone = (TABLE["direct"] / TABLE["uniform"])[~random]
    assert added.min() > 0.01 and added.max() < 0.125, "as the alternative text says"
    assert alone.min() > 0.3 and alone.max() < 0.5


def description(path):
    with Image.open(path) as picture:
        return picture.info["Description"]


def test_pictures_carry_the_hash_of_their_table(tmp_path):
    assert check_front() == []
    paths = front.save_front(TABLE, tmp_path)
    assert [path.name for path in paths] == ["front_light.png", "front_dark.png"]
    carried = {description(path) for path in paths}
    assert carried == {hashlib.sha256(TABLE.to_csv(index=False).encode()).hexdigest()}
    (tmp_path / "book/data").mkdir(parents=True)
    (tmp_path / "book/images").mkdir()
    changed = TABLE.assign(bound=TABLE["bound"] + 0.001)
    front.save_front(changed, tmp_path / "book/images")
    (tmp_path / "book/data/front.csv").write_text(TABLE.to_csv(index=False))
    light, _ = check_front(tmp_path)
    assert light == "book/images/front_light.png is not of front.csv; run `make notebooks`"


def test_bars_end_at_the_limits():
    fig = front.plot_front(TABLE)
    ax = fig.axes[0]
    ends = sorted(round(bar.get_x() + bar.get_width(), 9) for bar in ax.patches)
    expected = pd.concat([TABLE["direct"] / TABLE["uniform"], TABLE["bound"] / TABLE["uniform"]])
    assert ends == pytest.approx(sorted(expected.round(9)))
    assert ax.get_yticklabels()[1].get_text() == "layer 1"
