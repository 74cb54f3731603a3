"""Which runs are meant, however they are named."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rvlab import frame
from rvlab.errors import NotFound, SpecError, TableError
from rvlab.frame import find_run, resolve_runs
from rvlab.frame.select import list_experiments, require_existing, require_one
from rvlab.model import Run
from rvlab.store import Store
from tests.frame.samples import Made


@pytest.fixture
def runs(made: Made) -> list[Run]:
    """Two runs of an experiment, one of another."""
    first, second = made.ended(), made.queued()
    return [first, second, made.queued(experiment="roads")]


def test_all_runs_are_meant_by_none(store: Store, runs: list[Run]) -> None:
    assert sorted(resolve_runs(store, None)) == sorted(runs)


def test_an_empty_store_has_none(store: Store) -> None:
    assert resolve_runs(store, None) == []
    assert list_experiments(store) == []


def test_folders_that_are_no_experiments_are_left_out(store: Store, runs: list[Run]) -> None:
    store.put("_data/town/scene.tif", b"")
    store.put(".cache/x/y", b"")
    store.put("towns/cache/events/x", b"")
    store.put(f"towns/annotations/{runs[0].id}/x.json", b"")
    assert list_experiments(store) == ["roads", "towns"]
    assert sorted(resolve_runs(store, None)) == sorted(runs)


def test_an_experiment_without_a_run_is_in_nobodys_way(store: Store, runs: list[Run]) -> None:
    store.put("empty/annotations/20261123-154201-000000/x.json", b"")
    assert sorted(resolve_runs(store, None)) == sorted(runs)
    assert find_run(store, runs[2].id) == runs[2]
    with pytest.raises(NotFound, match=r"There is no experiment 'empty' in .*\. There are 'roads'"):
        resolve_runs(store, "empty")


def test_a_run_that_is_to_be_changed_has_to_be_there(store: Store, runs: list[Run]) -> None:
    assert require_existing(store, [runs[0], "roads"]) == [runs[0], runs[2]]
    assert require_existing(store, frame.runs_table(store, runs)) == runs
    gone = Run(store.uri, "towns", f"{runs[0].id[:-1]}9")
    with pytest.raises(NotFound, match=rf"^There is no run 'towns/{gone.id}' in .* Did you mean"):
        require_existing(store, [runs[0], gone])
    with pytest.raises(NotFound, match=r"^There is no experiment 'twons'"):
        require_existing(store, Run(store.uri, "twons", runs[0].id))
    for other in (f"{store.uri}-too", f"{store.uri}/deeper"):
        with pytest.raises(SpecError, match=r"does not lie"):
            require_existing(store, Run(other, "towns", runs[0].id))


def test_one_run_is_one_run(store: Store, runs: list[Run]) -> None:
    assert require_one(store, [runs[0].id], "clone") == runs[0]
    with pytest.raises(SpecError, match=r"^clone takes one run; these are 2\. Name one\.$"):
        require_one(store, "towns", "clone")
    for nothing in (None, []):
        with pytest.raises(SpecError, match=r"^clone takes one run; these are none\."):
            require_one(store, nothing, "clone")


def test_every_way_to_name_a_run_means_it(store: Store, runs: list[Run]) -> None:
    first, second, road = runs
    found = frame.runs_table(store, runs)
    ways: list[tuple[Any, list[Run]]] = [
        (first, [first]),
        (first.id, [first]),
        (f"towns/{first.id}", [first]),
        (first.uri, [first]),
        (f"{first.uri}/", [first]),
        ("towns", [first, second]),
        ("roads", [road]),
        ([], []),
        ([first, road.id], [first, road]),
        ((run for run in (first, second)), [first, second]),
        (["towns", first, "roads"], [first, second, road]),
        (found, runs),
        (found.head(1), [first]),
        (found.head(0), []),
        (found.loc[road.id], [road]),
        (found.iloc[0], [first]),
        (found.index, runs),
        (np.array([first.id]), [first]),
        (found[["uri", "state"]], runs),
        (pd.concat([found, found]), runs),
    ]
    for way, meant in ways:
        assert resolve_runs(store, way) == meant, way


def test_a_table_that_was_joined_names_each_run_once(store: Store, runs: list[Run]) -> None:
    scores = pd.DataFrame({"run": [runs[0].id] * 3 + ["elsewhere"], "value": [1, 2, 3, 4]})
    joined = scores.merge(frame.runs_table(store, runs), on="run", how="left")
    assert resolve_runs(store, joined) == [runs[0]]


def test_a_run_is_found_by_its_name_alone(store: Store, runs: list[Run]) -> None:
    for way in (runs[2].id, f"roads/{runs[2].id}", runs[2].uri):
        assert find_run(store, way) == runs[2]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("twons", r"There is no experiment or run 'twons' in .*\. Did you mean 'towns'\?$"),
        ("20261123-154201-000009", r"'20261123-154201-000009' in .*\. Did you mean '20261123-1542"),
        ("zzz", r"'zzz' in .*\. There are '20261123-154201-000000', .*, 'roads', 'towns'\.$"),
    ],
)
def test_a_wrong_name_leads_to_the_nearest(
    store: Store, runs: list[Run], name: str, told: str
) -> None:
    with pytest.raises(NotFound, match=told):
        resolve_runs(store, name)
    with pytest.raises(NotFound, match=told):
        resolve_runs(store, [runs[0], name])


def test_a_wrong_run_of_a_right_experiment_leads_to_the_nearest(
    store: Store, runs: list[Run]
) -> None:
    wrong = f"{runs[2].id[:-1]}9"
    with pytest.raises(
        NotFound, match=rf"^There is no run 'roads/{wrong}' in .* Did you mean '{runs[2].id}'\?$"
    ):
        find_run(store, f"roads/{wrong}")
    with pytest.raises(NotFound, match=r"^There is no experiment 'raods' in .*mean 'roads'\?$"):
        find_run(store, f"raods/{wrong}")


def test_an_empty_store_says_that_it_is(store: Store) -> None:
    with pytest.raises(NotFound, match=r"'towns' in .*\. There are none\.$") as told:
        resolve_runs(store, "towns")
    assert isinstance(told.value, LookupError)
    assert store.uri in str(told.value)


def test_a_table_without_uris_says_which_column_it_lacks(store: Store, runs: list[Run]) -> None:
    found = frame.runs_table(store, runs)
    for lacking in (found.drop(columns="uri"), found.iloc[0].drop("uri"), found["state"]):
        with pytest.raises(TableError, match=r"^The table of runs has no column 'uri'\. Keep"):
            resolve_runs(store, lacking)


@pytest.mark.parametrize("nonsense", [5, 1.5, True])
def test_what_names_nothing_is_refused(store: Store, nonsense: Any) -> None:
    with pytest.raises(
        SpecError, match=f"^{re.escape(repr(nonsense))} names no runs. Give a table, a run, its id"
    ):
        resolve_runs(store, nonsense)
