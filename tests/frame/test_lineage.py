"""Ancestors and descendants of a run, from the table of runs."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from rvlab import frame
from rvlab.errors import NotFound
from rvlab.frame.lineage import relatives_table
from rvlab.model import Run
from rvlab.store import Store
from tests.frame.samples import Made

NEVER = "20261123-154200-ffffff"


def table(store: Store) -> pd.DataFrame:
    return frame.runs_table(store, frame.resolve_runs(store, None))


def child(made: Made, parent: Run | str, **more: Any) -> Run:
    return made.ended(parent=parent if isinstance(parent, str) else parent.id, **more)


def test_ancestors_and_descendants_are_listed_oldest_first(store: Store, made: Made) -> None:
    first = made.ended({"lr": 1e-3, "epochs": 2}, {"f1": 0.5})
    made.ended({"lr": 1e-3, "epochs": 2})  # not related
    second = child(made, first, params={"lr": 3e-4, "epochs": 2}, seed=1, metrics={"f1": 0.75})
    sister = child(made, first, params={"lr": 1e-2, "epochs": 2})
    third = child(made, second, params={"lr": 3e-4, "epochs": 4}, seed=1, experiment="roads")
    twin = child(made, second, params={"lr": 3e-4, "epochs": 2}, seed=1, source_sha256="1" * 64)
    found = relatives_table(table(store), second.id)
    assert found.index.tolist() == [first.id, second.id, third.id, twin.id]
    assert found.index.name == "run"
    assert found["generation"].tolist() == [-1, 0, 1, 1]
    assert found["parent"].tolist()[1:] == [first.id, second.id, second.id]
    assert found["changed"].tolist()[1:] == [
        "lr: 0.001 → 0.0003; seed: 0 → 1",
        "epochs: 2 → 4",
        "recipe source",
    ]
    assert found.iloc[0][["parent", "changed"]].isna().all()
    assert found["metrics.f1"].tolist()[:2] == [0.5, 0.75]
    assert found["uri"].tolist() == [first.uri, second.uri, third.uri, twin.uri]
    family = relatives_table(table(store), first.id)
    assert set(family.index) == {first.id, second.id, sister.id, third.id, twin.id}
    assert family.loc[third.id, "generation"] == 2


def test_columns_have_fixed_dtypes(store: Store, made: Made) -> None:
    run = made.ended()
    dtypes = {
        "generation": "Int64",
        "parent": "string",
        "changed": "string",
        "name": "string",
        "state": "string",
        "created": "datetime64[s, UTC]",
        "uri": "string",
    }
    alone = relatives_table(table(store), run.id)
    assert {n: str(t) for n, t in alone.dtypes.items()} == dtypes
    child(made, run, metrics={"f1": 0.5, "mean_iou": 0.25, "accuracy": 1.0})
    both = relatives_table(table(store), run.id)
    measured = {"metrics.f1": "float64", "metrics.mean_iou": "float64"}
    assert {n: str(t) for n, t in both.dtypes.items()} == dtypes | measured
    order = ["name", "state", "generation", "changed", *measured, "created", "parent", "uri"]
    assert list(both.columns) == order


def test_deleted_parent_is_a_row_with_the_state_deleted(store: Store, made: Made) -> None:
    first = child(made, NEVER)
    second = child(made, NEVER)
    found = relatives_table(table(store), second.id)
    assert found.index.tolist() == [NEVER, second.id]
    assert found["state"].tolist() == ["deleted", "succeeded"]
    assert found["generation"].tolist() == [-1, 0]
    assert found["changed"].isna().all()
    assert found.loc[NEVER, ["name", "created", "uri", "parent"]].isna().all()
    from_it = relatives_table(table(store), NEVER)
    assert from_it.index.tolist() == [NEVER, first.id, second.id]
    assert from_it["generation"].tolist() == [0, 1, 1]


def test_parameters_that_only_parent_or_child_has_are_changes(store: Store, made: Made) -> None:
    first = made.ended({"lr": 0.1, "old": True, "names": ["a"]})
    second = child(made, first, params={"lr": 0.1, "new": 3, "names": ["a"]}, splits=4)
    made.ended({"other": "recipe"})
    changed = relatives_table(table(store), second.id).loc[second.id, "changed"]
    assert changed == "old: True → –; new: – → 3; splits: 1 → 4"


def test_seed_is_listed_once_as_a_change(store: Store, made: Made) -> None:
    first = made.ended({"seed": 0})
    second = child(made, first, params={"seed": 1}, seed=1)
    assert relatives_table(table(store), second.id).loc[second.id, "changed"] == "seed: 0 → 1"


def test_changes_from_a_broken_parent_are_missing(store: Store, made: Made) -> None:
    first = made.ended({"lr": 0.1})
    second = child(made, first, params={"lr": 0.2})
    store.put(first.end_key, b"{")
    found = relatives_table(table(store), second.id)
    assert found["state"].tolist() == ["broken", "succeeded"]
    assert found["changed"].isna().all()


def test_cycle_of_parents_terminates(store: Store, made: Made) -> None:
    ids = [f"20261123-15420{n}-aaaaaa" for n in range(3)]
    for n, id_ in enumerate(ids):
        made.ended(run=id_, parent=ids[(n + 1) % 3])
    alone = made.ended(run="20261123-154209-aaaaaa", parent="20261123-154209-aaaaaa")
    for id_ in ids:
        assert sorted(relatives_table(table(store), id_).index) == ids
    assert relatives_table(table(store), alone.id)["generation"].tolist() == [0]


def test_unknown_id_raises_with_a_suggestion(store: Store, made: Made) -> None:
    run = made.ended()
    with pytest.raises(NotFound, match=f"No run '{run.id[:-1]}9', .* Did you mean '{run.id}'"):
        relatives_table(table(store), f"{run.id[:-1]}9")
    with pytest.raises(NotFound, match=r"There are none\."):
        relatives_table(table(store).head(0), run.id)
