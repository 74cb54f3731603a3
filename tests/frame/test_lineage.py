"""Ancestors and descendants of a run, from the table of runs."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from rvlab import frame
from rvlab.errors import NotFound
from rvlab.frame.lineage import lineage_table
from rvlab.model import Run
from rvlab.store import Store
from tests.frame.samples import Made

NEVER = "20261123-154200-ffffff"


def table(store: Store) -> pd.DataFrame:
    return frame.runs_table(store, frame.resolve_runs(store, None))


def child(made: Made, parent: Run | str, **more: Any) -> Run:
    return made.ended(parent=parent if isinstance(parent, str) else parent.id, **more)


def test_ancestors_and_descendants_stand_with_the_oldest_first(store: Store, made: Made) -> None:
    first = made.ended({"lr": 1e-3, "epochs": 2}, {"f1": 0.5})
    made.ended({"lr": 1e-3, "epochs": 2})  # a stranger
    second = child(made, first, params={"lr": 3e-4, "epochs": 2}, seed=1, metrics={"f1": 0.75})
    sister = child(made, first, params={"lr": 1e-2, "epochs": 2})
    third = child(made, second, params={"lr": 3e-4, "epochs": 4}, seed=1, experiment="roads")
    twin = child(made, second, params={"lr": 3e-4, "epochs": 2}, seed=1, source_sha256="1" * 64)
    found = lineage_table(table(store), second.id)
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
    whole = lineage_table(table(store), first.id)
    assert set(whole.index) == {first.id, second.id, sister.id, third.id, twin.id}
    assert whole.loc[third.id, "generation"] == 2


def test_the_columns_have_the_same_dtypes_whatever_is_in_them(store: Store, made: Made) -> None:
    run = made.ended()
    dtypes = {
        "generation": "Int64",
        "parent": "string",
        "changed": "string",
        "name": "string",
        "state": "string",
        "created": "datetime64[ns, UTC]",
        "uri": "string",
    }
    alone = lineage_table(table(store), run.id)
    assert {n: str(t) for n, t in alone.dtypes.items()} == dtypes
    child(made, run, metrics={"f1": 0.5, "mean_iou": 0.25, "accuracy": 1.0})
    both = lineage_table(table(store), run.id)
    measured = {"metrics.f1": "float64", "metrics.mean_iou": "float64"}
    assert {n: str(t) for n, t in both.dtypes.items()} == dtypes | measured


def test_a_parent_that_was_deleted_is_a_row_that_says_so(store: Store, made: Made) -> None:
    first = child(made, NEVER)
    second = child(made, NEVER)
    found = lineage_table(table(store), second.id)
    assert found.index.tolist() == [NEVER, second.id]
    assert found["state"].tolist() == ["deleted", "succeeded"]
    assert found["generation"].tolist() == [-1, 0]
    assert found["changed"].isna().all()
    assert found.loc[NEVER, ["name", "created", "uri", "parent"]].isna().all()
    from_it = lineage_table(table(store), NEVER)
    assert from_it.index.tolist() == [NEVER, first.id, second.id]
    assert from_it["generation"].tolist() == [0, 1, 1]


def test_what_only_one_of_the_two_has_is_told(store: Store, made: Made) -> None:
    first = made.ended({"lr": 0.1, "old": True, "names": ["a"]})
    second = child(made, first, params={"lr": 0.1, "new": 3, "names": ["a"]}, splits=4)
    made.ended({"other": "recipe"})
    changed = lineage_table(table(store), second.id).loc[second.id, "changed"]
    assert changed == "old: True → –; new: – → 3; splits: 1 → 4"


def test_the_seed_of_a_recipe_is_told_once(store: Store, made: Made) -> None:
    first = made.ended({"seed": 0})
    second = child(made, first, params={"seed": 1}, seed=1)
    assert lineage_table(table(store), second.id).loc[second.id, "changed"] == "seed: 0 → 1"


def test_nothing_is_said_of_a_run_that_cannot_be_read(store: Store, made: Made) -> None:
    first = made.ended({"lr": 0.1})
    second = child(made, first, params={"lr": 0.2})
    store.put(first.end_key, b"{")
    found = lineage_table(table(store), second.id)
    assert found["state"].tolist() == ["broken", "succeeded"]
    assert found["changed"].isna().all()


def test_records_that_go_round_in_a_circle_end(store: Store, made: Made) -> None:
    ids = [f"20261123-15420{n}-aaaaaa" for n in range(3)]
    for n, id_ in enumerate(ids):
        made.ended(run=id_, parent=ids[(n + 1) % 3])
    alone = made.ended(run="20261123-154209-aaaaaa", parent="20261123-154209-aaaaaa")
    for id_ in ids:
        assert sorted(lineage_table(table(store), id_).index) == ids
    assert lineage_table(table(store), alone.id)["generation"].tolist() == [0]


def test_a_wrong_id_leads_to_the_nearest(store: Store, made: Made) -> None:
    run = made.ended()
    with pytest.raises(NotFound, match=f"no run '{run.id[:-1]}9' .* Did you mean '{run.id}'"):
        lineage_table(table(store), f"{run.id[:-1]}9")
    with pytest.raises(NotFound, match=r"There are none\."):
        lineage_table(table(store).head(0), run.id)
