"""Clones of runs with changed parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from rvlab import Lab
from rvlab.errors import NotFound, RecordBroken, RvlabError, SpecError
from rvlab.model import ReportedState, Run, Spec, end_record, utc_now
from rvlab.model.check_result import CheckResult
from rvlab.recipes import Recipe, find_recipe
from rvlab.store import Store
from rvlab.submission import SubmitOptions, prepare_runs
from tests.conftest import TINY, Trained

SOURCE = """
def get_config(runner, root_uri: str, data_uri: SharedFolder, lr: float = 1e-3, epochs: int = 2,
               seed: int = 0, names: list[str] = ["a"], odd: int = None, wrong: int = 0.5,
               made=object()):
    return None
"""


@dataclass
class RecordingEngine:
    """A fake engine that records the runs of each call of `start`."""

    name: str = "local"
    started: list[tuple[list[Run], str | None]] = field(default_factory=list)

    sees_all_runs: bool = False
    steady_heartbeat: bool = True
    image: str | None = None

    def validate(self, store: Store, recipe: Recipe, points: Sequence[Mapping[str, Any]]) -> None:
        pass

    def start(self, store: Store, runs: Sequence[Run], *, folder: str | None = None) -> list[Run]:
        self.started.append((list(runs), folder))
        return list(runs)

    def retry(self, store: Store, run: Run, *, folder: str | None = None) -> None:
        raise AssertionError(run)

    def resume(self, store: Store) -> None:
        pass

    def check(self, store: Store) -> list[CheckResult]:
        return []

    def states(self, store: Store, runs: Sequence[Run]) -> dict[Run, ReportedState]:
        return dict.fromkeys(runs, ReportedState("queued"))

    def cancel(self, store: Store, run: Run) -> None:
        raise AssertionError(run)

    def cancel_many(self, store: Store, runs: Sequence[Run]) -> dict[Run, RvlabError]:
        raise AssertionError(runs)


@pytest.fixture
def engine() -> RecordingEngine:
    return RecordingEngine()


@pytest.fixture
def lab(tmp_path: Path, engine: RecordingEngine) -> Lab:
    return Lab(tmp_path / "store", engine)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipes" / "my_towns.py"
    path.parent.mkdir()
    path.write_text(SOURCE)
    return path


@pytest.fixture
def run(lab: Lab, recipe: Path) -> Run:
    return lab.submit(recipe, experiment="towns", splits=3, seed=7, lr=0.01, data_uri="s3://b/x")


def spec(lab: Lab, run: Run) -> Spec:
    return Spec.from_record(lab.store.get_json(run.key("spec.json")), run.key("spec.json"))


def test_clone_repeats_the_run(lab: Lab, run: Run, engine: RecordingEngine, recipe: Path) -> None:
    old, new = spec(lab, run), spec(lab, clone := lab.clone(run))
    assert clone.id != run.id
    assert new == replace(
        old,
        run=clone.id,
        created=new.created,
        parent=run.id,
        places={"root_uri": clone.rv_uri, "data_uri": "s3://b/x"},
    )
    assert new.seed == new.params["seed"] == 7
    assert lab.store.get(clone.key("recipe.py")).decode() == SOURCE
    assert engine.started == [([run], str(recipe.parent)), ([clone], str(recipe.parent))]


def test_clone_changes_given_values_and_names_them(lab: Lab, run: Run) -> None:
    parent = spec(lab, run)
    for given, name, changed in (
        ({"lr": 3e-4}, "lr=0.0003", {"params": {**parent.params, "lr": 3e-4}}),
        ({"lr": 0.01}, parent.name, {}),
        ({"seed": 8}, "seed=8", {"seed": 8, "params": {**parent.params, "seed": 8}}),
        ({"params": {"epochs": 4}}, "epochs=4", {"params": {**parent.params, "epochs": 4}}),
        ({"splits": 1}, "splits=1", {"splits": 1}),
        ({"experiment": "roads"}, parent.name, {"experiment": "roads"}),
    ):
        clone = spec(lab, lab.clone(run, **given))
        expected = {**parent.record(), "name": name, "parent": run.id, **changed}
        same = ("name", "parent", "experiment", "params", "splits", "seed", "recipe")
        assert {k: clone.record()[k] for k in same} == {k: expected[k] for k in same}, given
    places = spec(lab, lab.clone(run, data_uri="s3://other/y", lr=1)).places
    assert places["data_uri"] == "s3://other/y"


def test_clone_runs_the_recorded_source(
    lab: Lab, run: Run, recipe: Path, engine: RecordingEngine
) -> None:
    recipe.write_text("raise OSError('another recipe')")
    clone = lab.clone(run, lr=0.5)
    assert lab.store.get(clone.key("recipe.py")).decode() == SOURCE
    assert spec(lab, clone).source_sha256 == spec(lab, run).source_sha256
    recipe.unlink()
    recipe.parent.rmdir()
    assert spec(lab, lab.clone(run)).folder is None
    assert engine.started[-1][1] is None


def test_included_recipe_and_older_record_have_no_folder(lab: Lab, engine: RecordingEngine) -> None:
    run = lab.submit("synthetic_town")
    key = run.key("spec.json")
    record = lab.store.get_json(key)
    assert record.pop("folder", "missing") is None
    lab.store.put_json(key, record)
    assert lab.clone(run, lr=0.5).experiment == "default"
    assert engine.started[-1][1] is None


def test_clone_accepts_every_kind_of_selector(lab: Lab, run: Run) -> None:
    table = lab.runs()
    ways: list[Any] = [run, run.id, run.uri, f"towns/{run.id}", [run], table, table.loc[run.id]]
    for way in ways:
        assert spec(lab, lab.clone(way, experiment="clones")).parent == run.id


def test_lineage_includes_a_clone_of_a_clone(lab: Lab, run: Run) -> None:
    second = lab.clone(run, lr=0.1)
    third = lab.clone(second, epochs=5, experiment="roads")
    assert spec(lab, third).params == {**spec(lab, run).params, "lr": 0.1, "epochs": 5}
    for way in (third, third.id, lab.runs().loc[third.id]):
        table = lab.lineage(way)
        assert table.index.tolist() == [run.id, second.id, third.id]
        assert table["generation"].tolist() == [-2, -1, 0]
        assert table["changed"].tolist()[1:] == ["lr: 0.01 → 0.1", "epochs: 2 → 5"]
    with pytest.raises(SpecError, match="lineage needs exactly one run, got 2"):
        lab.lineage("towns")
    with pytest.raises(NotFound, match="No experiment or run 'x'"):
        lab.lineage("x")


def test_lineage_includes_a_deleted_parent(lab: Lab, run: Run) -> None:
    clone = lab.clone(run, lr=0.1)
    record = end_record(spec(lab, run).record(), "cancelled", utc_now())
    lab.store.put_json(run.end_key, record)
    lab.delete(run, confirm=run.id)
    for way in (clone, run.id):
        assert lab.lineage(way)["state"].tolist() == ["deleted", "queued"]


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_unsuccessful_run_can_be_cloned(lab: Lab, run: Run, state: str) -> None:
    record = end_record(spec(lab, run).record(), state, utc_now(), step="train", error="it broke")
    lab.store.put_json(run.end_key, record)
    assert lab.runs(lab.clone(run, lr=0.1))["state"].tolist() == ["queued"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epocs": 1}, r"^my_towns has no parameter 'epocs'\. Did you mean 'epochs'\?$"),
        ({"lr": "fast"}, "^my_towns: the parameter 'lr' is float, but 'fast' was given"),
        ({"root_uri": "x"}, "^my_towns: 'root_uri' is filled in by rvlab"),
        ({"seed": -1}, "^seed must be an integer from 0 to"),
        ({"splits": 0}, "^splits must be an integer from 1 to"),
        ({"experiment": "a/b"}, "^'a/b' is not a valid experiment name"),
    ],
)
def test_clone_with_invalid_input_starts_no_run(
    lab: Lab, run: Run, engine: RecordingEngine, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        lab.clone(run, **given)
    assert lab.runs().index.tolist() == [run.id]
    assert len(engine.started) == 1


def test_clone_refuses_several_missing_and_broken_runs(lab: Lab, run: Run) -> None:
    other = lab.submit("synthetic_town", experiment="towns")
    with pytest.raises(SpecError, match=r"^clone needs exactly one run, got 2\. Name one\.$"):
        lab.clone("towns")
    with pytest.raises(SpecError, match=r"^clone needs exactly one run, got 0"):
        lab.clone(None)
    with pytest.raises(NotFound, match="Did you mean"):
        lab.clone(f"{run.id[:-1]}_")
    lab.store.delete([other.key("recipe.py")])
    with pytest.raises(SpecError, match=rf"^The run {other.id} has no recipe\.py, so it cannot be"):
        lab.clone(other)
    lab.store.put(run.key("spec.json"), b"{")
    with pytest.raises(RecordBroken, match="not whole JSON"):
        lab.clone(run)


def test_clone_of_a_failed_run_can_succeed(trained: Trained) -> None:
    lab = trained.lab
    clone = lab.clone(trained.row("raises"), raises="", epochs=1, experiment="clones")
    row = lab.wait(clone, progress=False).iloc[0]
    assert row["state"] == "succeeded", row["error"]
    assert row["parent"] == trained.runs["raises"].id
    assert row["name"] == "epochs=1 raises="
    assert row["metrics.f1"] > 0
    assert spec(lab, clone).folder == str(TINY.parent)
    table = lab.lineage(clone)
    assert table["state"].tolist() == ["failed", "succeeded"]
    assert table["changed"].iloc[1] == ("epochs: 2 → 1; raises: the imagery is on another disk → ")


def test_clone_imports_modules_next_to_the_original_recipe(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "store")
    folder = tmp_path / "recipes"
    folder.mkdir()
    (folder / "beside_my_recipe.py").write_text("WORD = 'found beside'")
    (folder / "my_recipe.py").write_text(
        "from beside_my_recipe import WORD\n\n\n"
        "def get_config(runner, more: str = ''):\n    raise OSError(WORD + more)\n"
    )
    (run,) = prepare_runs(
        lab.store, find_recipe(folder / "my_recipe.py"), [{}], SubmitOptions("towns", "local")
    )
    (folder / "my_recipe.py").unlink()
    clone = lab.clone(run, more=", again")
    row = lab.wait(clone, progress=False).iloc[0]
    assert row["error"] == "OSError: found beside, again"
