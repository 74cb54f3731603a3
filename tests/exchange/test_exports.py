"""Exports of every table to CSV, Parquet, Excel and LaTeX."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rvlab import Lab, LocalEngine, compare
from rvlab.compare import plain_table
from rvlab.model.tables import LAB_TABLES
from tests.frame.samples import Made
from tests.report.samples import make_towns

ODD = "a_b & 50 % $x$ #1 {c} \\d ~ ^ \x1b[31mred\x1b[0m <b> é 中\nnext"
POINTS: list[tuple[float, dict[str, Any]]] = [
    (0.02, {"lr": 0.01, "kinds": [1, "a"], "more": {}, "mixed": "auto", "seed": 0}),
    (0.03, {"lr": 0.01, "kinds": [1, "a"], "more": {}, "mixed": "auto", "seed": 1}),
    (0.2, {"lr": 0.001, "kinds": "b", "more": {"x": [1]}, "mixed": 3, "text": ODD, "seed": 0}),
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    towns = make_towns(tmp_path_factory.mktemp("towns"), POINTS, error=ODD)
    made, run = Made(towns.store), towns.scored[0]
    made.step(run, "train", state="succeeded")
    scene = {"group": "validation", "scene": "val-0", "image": "1", "labels": "2"}
    made.table(run, "scenes", [scene])
    file = {"step": "train", "kind": "model", "key": "rv/train/model.pth", "bytes": 3}
    made.table(run, "artifacts", [file])
    return Lab(towns.store, LocalEngine())


def scored(lab: Lab) -> pd.DataFrame:
    return lab.runs("town").query("state == 'succeeded'")


def table_of_lab(name: str, lab: Lab) -> pd.DataFrame:
    return getattr(lab, name)("town")


TABLES: dict[str, Callable[[Lab], pd.DataFrame]] = {
    **{name: partial(table_of_lab, name) for name in LAB_TABLES},
    "windows": lambda lab: lab.windows(scored(lab)),
    "lineage": lambda lab: lab.lineage(scored(lab).iloc[0]),
    "configs": lambda lab: lab.configs(scored(lab), every=True),
    "check": lambda lab: lab.check(),
    "clean": lambda lab: lab.clean(dry_run=True),
    "board": lambda lab: compare.board(scored(lab)),
    "seeds": lambda lab: compare.seeds(scored(lab)),
    "varying": lambda lab: compare.varying(lab.runs("town")),
    "test": lambda lab: compare.test(*[scored(lab).iloc[[i]] for i in (0, 2)]).table(),
    "table_of_tests": lambda lab: compare.table_of_tests(scored(lab), scored(lab).iloc[0]),
    "by_scene": lambda lab: compare.by_scene(scored(lab).iloc[0], scored(lab).iloc[2]),
    "diff": lambda lab: compare.diff(scored(lab).iloc[0], scored(lab).iloc[2]),
    "epochs": lambda lab: compare.epochs(lab.history("town")),
    "pivot": lambda lab: compare.pivot(lab.evals("town")),
    "rank_changes": lambda lab: compare.rank_changes(scored(lab)),
}


@pytest.mark.filterwarnings("ignore:The run .* is left out")  # runs without a config
@pytest.mark.parametrize("name", TABLES)
def test_table_is_exported_to_each_format(lab: Lab, name: str) -> None:
    table = TABLES[name](lab)
    before = table.copy(deep=True)
    plain = plain_table(table)
    pd.testing.assert_frame_equal(table, before)
    assert list(plain.columns) == list(table.columns)
    assert plain.index.equals(table.index)

    as_csv = pd.read_csv(io.StringIO(table.to_csv()), header=[*range(table.columns.nlevels)])
    assert len(as_csv) == len(table)
    latex = table.to_latex(escape=True)
    assert r"\begin{tabular}" in latex

    data = io.BytesIO()
    plain.to_parquet(data)
    # Parquet has no unit above milliseconds.
    seconds = [c for c, kind in plain.dtypes.items() if str(kind) == "datetime64[s]"]
    wanted = plain.astype(dict.fromkeys(seconds, "datetime64[ms]"))
    pd.testing.assert_frame_equal(pd.read_parquet(io.BytesIO(data.getvalue())), wanted)

    sheet = io.BytesIO()
    plain.to_excel(sheet)
    found = pd.read_excel(sheet, index_col=[*range(table.index.nlevels)])
    assert len(found) >= len(table)


def test_values_survive_in_excel_and_parquet(lab: Lab) -> None:
    table = lab.runs("town")
    plain = plain_table(table)
    sheet = io.BytesIO()
    plain.to_excel(sheet)
    found = pd.read_excel(sheet, index_col=0)
    pd.testing.assert_series_equal(
        found["metrics.f1"], table["metrics.f1"], check_index_type=False, check_exact=False
    )
    created = table["created"].dt.tz_localize(None)
    assert (found["created"] - created).abs().max() < pd.Timedelta(milliseconds=1)
    assert plain["params.kinds"].tolist()[:3] == ['[1, "a"]', '[1, "a"]', "b"]
    assert plain["params.more"].tolist()[2] == '{"x": [1]}'
    assert plain["params.mixed"].tolist()[:3] == ["auto", "auto", "3"]
    assert "\\x1b[31mred" in plain["error"].dropna().iloc[0]
    assert plain["created"].dt.tz is None


def test_latex_has_no_unescaped_special_characters(lab: Lab) -> None:
    latex = lab.runs("town")[["error", "params.text", "metrics.mean_iou"]].to_latex(escape=True)
    assert r"a\_b \& 50 \% \$x\$ \#1 \{c\} \textbackslash d" in latex
    assert r"metrics.mean\_iou" in latex


def test_large_integers_and_names_of_columns_are_plain(tmp_path: Path) -> None:
    numbers = pd.Series([np.float64(0.5), 1, None], dtype="object")
    table = pd.DataFrame({"a\x1b": [2**70, 1, None], "b": numbers}, dtype="object")
    plain = plain_table(table)
    assert list(plain) == ["a\\x1b", "b"]
    assert plain["a\\x1b"].tolist()[:2] == [str(2**70), "1"]
    assert plain["b"].dtype == "float64"
    plain.to_parquet(tmp_path / "a.parquet")
