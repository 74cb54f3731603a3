"""Names and differing parameters of runs in tables with several rows per run."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rvlab import Lab
from rvlab.cache.background import DeferredWrites
from rvlab.cache.query import Query
from rvlab.frame.identifying_columns import read_identifying_columns
from rvlab.frame.run_selector import listings_of_runs
from rvlab.model import Run
from rvlab.store import Store
from tests.frame.samples import Made
from tests.frame.test_tables import COUNT, EVAL, FILE

LOG = b"epoch,train_loss\n0,1.5\n1,0.5\n"
SCENE = [
    {"group": "validation", "scene": "a", "image": "1", "labels": "2", "hashed_from": "content"}
]
ROWS: dict[str, list[dict[str, Any]]] = {
    "evals": EVAL,
    "confusion": COUNT,
    "scenes": SCENE,
    "artifacts": FILE,
}
READ: dict[str, Callable[[Lab, Any], pd.DataFrame]] = {
    "evals": Lab.evals,
    "confusion": Lab.confusion,
    "scenes": Lab.scenes,
    "artifacts": Lab.artifacts,
    "history": Lab.history,
    "steps": Lab.steps,
}


def add(made: Made, params: dict[str, Any], **more: Any) -> Run:
    """Write an ended run with all tables."""
    run = made.ended(params, {"f1": 0.5}, **more)
    for name, rows in ROWS.items():
        made.table(run, name, rows)
    made.store.put(run.key("rv", "train", "log.csv"), LOG)
    made.step(run, "train", state="succeeded")
    return run


@pytest.fixture
def lab(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """Return a lab with an empty cache."""
    monkeypatch.setenv("RVLAB_CACHE", str(tmp_path / "cache"))
    return Lab(store)


@pytest.mark.parametrize("name", READ)
def test_long_table_has_the_names_and_the_differing_parameters(
    lab: Lab, made: Made, name: str
) -> None:
    runs = [add(made, {"lr": lr, "epochs": 2, "on": lr > 0.1}) for lr in (0.1, 0.2)]
    table = READ[name](lab, "towns")
    at = list(table.columns).index("run")
    assert list(table.columns[at : at + 4]) == ["run", "name", "params.lr", "params.on"]
    assert not {"params.epochs", "seed"} & set(table.columns)
    first = table.drop_duplicates("run").set_index("run")
    assert first["name"].to_dict() == {runs[0].id: "run 0", runs[1].id: "run 1"}
    assert first["params.lr"].to_dict() == {runs[0].id: 0.1, runs[1].id: 0.2}
    assert table.dtypes[["name", "params.lr", "params.on"]].astype(str).tolist() == [
        "string",
        "float64",
        "bool",
    ]
    assert table.groupby("params.on")["run"].nunique().tolist() == [1, 1]
    # Only the requested runs count, in whichever form they are passed.
    for one in (runs[1], lab.runs().loc[runs[1].id], lab.runs().iloc[[1]]):
        alone = READ[name](lab, one)
        assert set(alone["name"]) == {"run 1"}
        assert not alone.columns.str.startswith("params.").any()
    # A table without rows has the columns, too, so that a plot of it does not fail.
    others = [made.queued({"lr": lr}, experiment="queued") for lr in (1, 2)]
    empty = READ[name](lab, others)
    assert empty.empty
    assert {"run", "name", "params.lr"} <= set(empty.columns)


def test_seed_is_a_column_of_long_tables_if_it_differs(lab: Lab, made: Made) -> None:
    for seed in (3, 4):
        add(made, {"lr": 0.1}, seed=seed)
    for read in READ.values():
        table = read(lab, None)
        assert list(table["seed"].unique()) == [3, 4]
        assert not table.columns.str.startswith("params.").any()


def test_running_run_has_its_name_and_parameters(lab: Lab, made: Made) -> None:
    add(made, {"lr": 0.1})
    going = made.running(params={"lr": 1})
    lab.store.put(going.key("rv", "train", "log.csv"), LOG)
    assert lab.history().drop_duplicates("run")["params.lr"].tolist() == [0.1, 1.0]
    assert lab.steps(going)["name"].tolist() == ["run 1"] * 2
    made.end(going)
    assert lab.history().drop_duplicates("run")["params.lr"].tolist() == [0.1, 1.0]


def test_columns_come_from_the_cached_table_of_runs(lab: Lab, made: Made, read: list[str]) -> None:
    runs = [add(made, {"lr": lr}) for lr in (0.1, 0.2)]
    lab.runs()
    DeferredWrites.flush()
    for name, table in READ.items():
        table(lab, None)  # caches the rows of this table
        DeferredWrites.flush()
        read.clear()
        assert {"name", "params.lr"} <= set(table(lab, None))
        spec_keys = {run.key("spec.json") for run in runs} | {run.end_key for run in runs}
        assert not spec_keys & set(read), name


def test_run_with_broken_records_has_no_name(lab: Lab, made: Made) -> None:
    for lr in (0.1, 0.2):
        add(made, {"lr": lr})
    bad = add(made, {"lr": 0.3})
    lab.store.put(bad.end_key, b"{")
    table = lab.evals().drop_duplicates("run").set_index("run")
    assert table["name"].isna().tolist() == [False, False, True]
    assert table["params.lr"].isna().tolist() == [False, False, True]


def test_runs_of_several_experiments_have_their_own_parameters(lab: Lab, made: Made) -> None:
    runs = [add(made, {"lr": n}, experiment="ab"[n % 2]) for n in range(4)]
    table = lab.history(runs)
    assert table["run"].tolist() == [run.id for run in runs for _ in range(2)]
    assert table["params.lr"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_series_with_the_name_of_a_column_of_the_run_is_renamed(lab: Lab, made: Made) -> None:
    run = made.ended({"lr": 0.1})
    rows = {"epoch": [0], "name": [1.0], "seed": [2.0], "params.lr": [3.0], "loss": [4.0]}
    data = io.BytesIO()
    pq.write_table(pa.table(rows), data)
    lab.store.put(run.key("tables", "history.parquet"), data.getvalue())
    assert lab.history().iloc[0].to_dict() == {
        "run": run.id,
        "name": "run 0",
        "epoch": 0,
        "metric.name": 1.0,
        "metric.seed": 2.0,
        "metric.params.lr": 3.0,
        "loss": 4.0,
    }


def test_row_without_a_run_has_missing_values(lab: Lab, made: Made) -> None:
    runs = [made.ended({"n": n, "on": n > 0, "lr": n / 2, "text": f"{n}"}) for n in range(2)]
    with Query(lab.store) as query:
        columns = read_identifying_columns(query, listings_of_runs(query, runs))
    found = pd.DataFrame(columns.take(np.array([1, -1])))
    assert found.iloc[0].tolist() == ["run 1", 1, True, 0.5, "1"]
    assert found.iloc[1].isna().all()
    dtypes = ["string", "Int64", "boolean", "float64", "string"]
    assert found.dtypes.astype(str).tolist() == dtypes


def test_windows_have_the_columns_of_their_run(tmp_path: Path) -> None:
    from tests.raster.samples import Experiment

    town = Experiment(tmp_path, size=(128, 128))
    store = Store(str(town.root))
    for wrong in (0.4, 0.1):
        id_ = town.add(wrong).name
        Made(store).spec({"lr": wrong, "n": 1}, experiment="town", run=id_, name=f"wrong {wrong}")
    table = Lab(store).windows(town.runs, "error", size=64)
    assert list(table.columns[-5:]) == ["by", "run", "name", "params.lr", "pixels"]
    assert set(table["params.lr"]) == {0.4}
    assert set(table["name"]) == {"wrong 0.4"}
    of_class = Lab(store).windows(town.runs, "class", classes="building", size=64)
    assert of_class["name"].isna().all()
    assert of_class["params.lr"].isna().all()
