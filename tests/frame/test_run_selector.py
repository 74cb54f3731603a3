"""Selection of runs by tables, ids, names and lists."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rvlab import frame
from rvlab.errors import NotFound, SpecError, TableError
from rvlab.frame import find_run, resolve_runs
from rvlab.frame.run_names import RunNames, list_experiments
from rvlab.frame.run_selector import require_existing, require_one
from rvlab.model import Run
from rvlab.store import Store
from tests.frame.samples import Made


@pytest.fixture
def runs(made: Made) -> list[Run]:
    """Return two runs of one experiment and one of another."""
    first, second = made.ended(), made.queued()
    return [first, second, made.queued(experiment="roads")]


def test_none_selects_all_runs(store: Store, runs: list[Run]) -> None:
    assert sorted(resolve_runs(store, None)) == sorted(runs)


def test_empty_store_has_no_runs_and_no_experiments(store: Store) -> None:
    assert resolve_runs(store, None) == []
    assert list_experiments(store) == []


def test_other_folders_are_not_listed_as_experiments(store: Store, runs: list[Run]) -> None:
    store.put("_data/town/scene.tif", b"")
    store.put(".cache/x/y", b"")
    store.put("towns/cache/events/x", b"")
    store.put(f"towns/annotations/{runs[0].id}/x.json", b"")
    assert list_experiments(store) == ["roads", "towns"]
    assert sorted(resolve_runs(store, None)) == sorted(runs)


def test_experiment_without_runs_is_not_found_and_does_not_affect_others(
    store: Store, runs: list[Run]
) -> None:
    store.put("empty/annotations/20261123-154201-000000/x.json", b"")
    assert sorted(resolve_runs(store, None)) == sorted(runs)
    assert find_run(store, runs[2].id) == runs[2]
    with pytest.raises(NotFound, match=r"No experiment 'empty' in .*\. There are 'roads'"):
        resolve_runs(store, "empty")


def test_require_existing_raises_for_missing_runs_and_other_stores(
    store: Store, runs: list[Run]
) -> None:
    assert require_existing(store, [runs[0], "roads"]) == [runs[0], runs[2]]
    assert require_existing(store, frame.runs_table(store, runs)) == runs
    missing = Run(store.uri, "towns", f"{runs[0].id[:-1]}9")
    with pytest.raises(NotFound, match=rf"^No run 'towns/{missing.id}' in .* Did you mean"):
        require_existing(store, [runs[0], missing])
    with pytest.raises(NotFound, match=r"^No experiment 'twons'"):
        require_existing(store, Run(store.uri, "twons", runs[0].id))
    for other in (f"{store.uri}-too", f"{store.uri}/deeper"):
        with pytest.raises(SpecError, match=r"is not in the store"):
            require_existing(store, Run(other, "towns", runs[0].id))


def test_require_one_raises_for_no_run_and_for_several(store: Store, runs: list[Run]) -> None:
    assert require_one(store, [runs[0].id], "clone") == runs[0]
    with pytest.raises(SpecError, match=r"^clone needs exactly one run, got 2\. Name one\.$"):
        require_one(store, "towns", "clone")
    for nothing in (None, []):
        with pytest.raises(SpecError, match=r"^clone needs exactly one run, got 0\."):
            require_one(store, nothing, "clone")


def test_every_kind_of_selector_resolves_to_its_runs(store: Store, runs: list[Run]) -> None:
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
    for way, expected in ways:
        assert resolve_runs(store, way) == expected, way


def test_joined_table_resolves_to_each_run_once(store: Store, runs: list[Run]) -> None:
    scores = pd.DataFrame({"run": [runs[0].id] * 3 + ["elsewhere"], "value": [1, 2, 3, 4]})
    joined = scores.merge(frame.runs_table(store, runs), on="run", how="left")
    assert resolve_runs(store, joined) == [runs[0]]


def test_run_is_found_by_id_path_or_uri(store: Store, runs: list[Run]) -> None:
    for way in (runs[2].id, f"roads/{runs[2].id}", runs[2].uri):
        assert find_run(store, way) == runs[2]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("twons", r"No experiment or run 'twons' in .*\. Did you mean 'towns'\?$"),
        ("20261123-154201-000009", r"'20261123-154201-000009' in .*\. Did you mean '20261123-1542"),
        ("zzz", r"'zzz' in .*\. The experiments are 'roads', 'towns'\.$"),
    ],
)
def test_unknown_name_raises_with_a_suggestion(
    store: Store, runs: list[Run], name: str, message: str
) -> None:
    with pytest.raises(NotFound, match=message):
        resolve_runs(store, name)
    with pytest.raises(NotFound, match=message):
        resolve_runs(store, [runs[0], name])


def test_experiment_is_not_listed_again_after_all_have_been(
    store: Store, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made.queued()
    names = RunNames(store)
    assert [one.experiment for one in names.all_listings] == ["towns"]
    monkeypatch.setattr("rvlab.frame.run_names.list_experiment", None)
    assert names.runs_in_experiment("towns") == [run]


def test_end_of_an_id_names_its_run_everywhere(store: Store, made: Made) -> None:
    first = made.queued(run="20261123-154201-c3e777")
    second = made.ended(run="20261123-154202-f54930")
    road = made.queued(run="20261123-154203-a1b2c3", experiment="roads")
    for way in ("c3e777", "e777", "154201-c3e777", "towns/c3e777", f"{store.uri}/towns/c3e777"):
        assert find_run(store, way) == first
        assert resolve_runs(store, way) == [first]
        assert require_existing(store, [way, road]) == [first, road]
    assert resolve_runs(store, ["c3e777", "roads", "f54930"]) == [first, road, second]
    assert list(frame.runs_table(store, ["f54930", "c3e777"]).index) == [second.id, first.id]
    assert require_one(store, "f54930", "logs") == second
    with pytest.raises(NotFound, match=r"No run 'roads/c3e777' in "):
        find_run(store, "roads/c3e777")
    with pytest.raises(NotFound, match=r"'777' in .*\. The experiments are"):
        resolve_runs(store, "777")  # too short to name a run
    with pytest.raises(NotFound, match=rf"'c3e778' in .*\. Did you mean '{first.id}'\?$"):
        resolve_runs(store, "c3e778")


def test_ambiguous_end_of_an_id_raises_with_the_candidates(store: Store, made: Made) -> None:
    runs = [
        made.queued(run="20261123-154201-00e777"),
        made.queued(run="20261123-154202-11e777", experiment="roads"),
    ]
    for way in ("e777", ["11e777", "e777"]):
        with pytest.raises(SpecError, match=r"^2 runs have ids that end with 'e777': ") as raised:
            resolve_runs(store, way)
        for run in runs:
            assert f"'{run.prefix}'" in str(raised.value)
    assert find_run(store, "roads/e777") == runs[1]
    for n in range(20):
        made.queued(run=f"20261123-1542{n:02}-22e777")
    with pytest.raises(SpecError, match=r"^22 runs .* and 14 more\. Name one as experiment/id\.$"):
        find_run(store, "e777")


def test_exact_names_have_priority_over_the_end_of_another_id(store: Store, made: Made) -> None:
    short = made.queued(run="c3e777")
    made.queued(run="20261123-154201-c3e777")
    named = made.queued(run="20261123-154202-a1b2c3", experiment="d4e5f6")
    made.queued(run="20261123-154203-d4e5f6")
    assert find_run(store, "c3e777") == short
    assert resolve_runs(store, "d4e5f6") == [named]


def test_many_names_are_looked_up_with_few_listings(store: Store, made: Made) -> None:
    runs = [made.queued(run=f"20261123-154201-{n:06x}") for n in range(40)]
    assert resolve_runs(store, [run.id for run in runs]) == runs
    assert resolve_runs(store, [run.id[-6:] for run in runs]) == runs


def test_unknown_run_of_an_experiment_raises_with_a_suggestion(
    store: Store, runs: list[Run]
) -> None:
    wrong = f"{runs[2].id[:-1]}9"
    with pytest.raises(
        NotFound, match=rf"^No run 'roads/{wrong}' in .* Did you mean '{runs[2].id}'\?$"
    ):
        find_run(store, f"roads/{wrong}")
    with pytest.raises(NotFound, match=r"^No experiment 'raods' in .*mean 'roads'\?$"):
        find_run(store, f"raods/{wrong}")


def test_empty_store_is_named_in_the_message(store: Store) -> None:
    with pytest.raises(NotFound, match=r"'towns' in .*\. There are none\.$") as raised:
        resolve_runs(store, "towns")
    assert isinstance(raised.value, LookupError)
    assert store.uri in str(raised.value)


def test_table_without_uris_raises_with_the_missing_column(store: Store, runs: list[Run]) -> None:
    found = frame.runs_table(store, runs)
    for lacking in (found.drop(columns="uri"), found.iloc[0].drop("uri"), found["state"]):
        with pytest.raises(TableError, match=r"^The table of runs has no column 'uri': keep"):
            resolve_runs(store, lacking)


@pytest.mark.parametrize("nonsense", [5, 1.5, True])
def test_values_of_other_types_raise(store: Store, nonsense: Any) -> None:
    with pytest.raises(
        SpecError, match=f"^{re.escape(repr(nonsense))} does not select runs. Pass a table, a run"
    ):
        resolve_runs(store, nonsense)
