"""Submission of points as records of runs: all of them, or none."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rvlab
from rvlab.errors import SpecError, StoreError
from rvlab.model import Run, Spec
from rvlab.recipes import Recipe, find_recipe
from rvlab.store import S3Access, Store
from rvlab.store.run_listing import list_runs
from rvlab.store.server import Server
from rvlab.submission import SubmitOptions, current_user, grid, prepare_runs

SOURCE = """
def get_config(runner, root_uri: str, data_uri: SharedFolder, lr: float = 1e-3, epochs: int = 2,
               names: list[str] = ["a"], made=object()):
    return None
"""
SEEDED = "def get_config(runner, seed: int = 42): ..."
ASKED = SubmitOptions("towns", "local")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def recipe() -> Recipe:
    return Recipe("my_towns", SOURCE)


def specs(store: Store, runs: Sequence[Run]) -> list[Spec]:
    return [Spec.from_record(store.get_json(r.key("spec.json")), r.key()) for r in runs]


# grid


def test_a_grid_has_every_combination_and_the_last_axis_varies_fastest() -> None:
    assert grid(lr=[1, 2], epochs=[3, 4]) == [
        {"lr": 1, "epochs": 3},
        {"lr": 1, "epochs": 4},
        {"lr": 2, "epochs": 3},
        {"lr": 2, "epochs": 4},
    ]


def test_a_single_value_is_an_axis_of_one_value() -> None:
    assert grid(a="text", b=None, c=1, d={"x": 1}, e=[[1, 2]]) == [
        {"a": "text", "b": None, "c": 1, "d": {"x": 1}, "e": [1, 2]}
    ]
    assert grid() == [{}]


def test_axes_may_be_any_iterable() -> None:
    assert grid(a=range(2)) == grid(a=(0, 1)) == grid(a=iter([0, 1])) == [{"a": 0}, {"a": 1}]
    assert grid(a=np.array([0, 1])) == [{"a": 0}, {"a": 1}]


def test_an_axis_without_values_is_refused() -> None:
    with pytest.raises(SpecError, match=r"^grid: lr has no values\. Pass at least one\.$"):
        grid(epochs=[1], lr=[])


@given(st.dictionaries(st.sampled_from("abcd"), st.lists(st.integers(), min_size=1, max_size=4)))
def test_the_size_of_a_grid_is_the_product_of_its_axes(axes: dict[str, list[int]]) -> None:
    points = grid(**axes)
    assert [tuple(p.values()) for p in points] == list(itertools.product(*axes.values()))
    assert all(list(p) == list(axes) for p in points)


# Records


def test_a_run_has_a_spec_and_its_recipe(store: Store, recipe: Recipe) -> None:
    (run,) = prepare_runs(store, recipe, [{"lr": 1}], ASKED)
    keys = ["rvlab.json", run.key("recipe.py"), run.key("spec.json"), run.active_key]
    assert [key for key, _ in store.files()] == keys
    assert store.get(run.key("recipe.py")).decode() == SOURCE
    (spec,) = specs(store, [run])
    assert spec.params == {"lr": 1.0, "epochs": 2, "names": ["a"]}
    assert spec.places == {"root_uri": run.rv_uri, "data_uri": f"{store.uri}/_data/my_towns"}
    assert (spec.experiment, spec.run, spec.recipe) == ("towns", run.id, "my_towns")
    assert spec.source_sha256 == recipe.sha256
    assert (spec.engine, spec.user, spec.rvlab) == ("local", current_user(), rvlab.__version__)


def test_a_spec_is_plain_json(store: Store, recipe: Recipe) -> None:
    point = {"lr": np.float64(0.5), "epochs": np.int64(3), "names": ["größe"]}
    (run,) = prepare_runs(store, recipe, [point], ASKED)
    text = store.get(run.key("spec.json")).decode()
    assert "größe" in text
    assert json.loads(text)["params"] == {"lr": 0.5, "epochs": 3, "names": ["größe"]}


def test_a_given_location_is_recorded(store: Store, recipe: Recipe) -> None:
    (run,) = prepare_runs(store, recipe, [{"data_uri": "s3://other/scenes"}], ASKED)
    (spec,) = specs(store, [run])
    assert spec.places == {"root_uri": run.rv_uri, "data_uri": "s3://other/scenes"}
    assert "data_uri" not in spec.params


def test_data_uri_of_a_users_recipe_is_a_parameter_of_the_run(store: Store) -> None:
    head = (
        "def get_config(runner, root_uri, data_uri: str = 's3://mine/x', tiles: SharedFolder = 0)"
    )
    (run,) = prepare_runs(store, Recipe("mine", f"{head}: ..."), [{}], ASKED)
    (spec,) = specs(store, [run])
    assert spec.params == {"data_uri": "s3://mine/x"}
    assert spec.places == {"root_uri": run.rv_uri, "tiles": f"{store.uri}/_data/mine"}


def test_empty_input_of_a_shared_folder_means_the_folder_of_the_store(
    store: Store, recipe: Recipe
) -> None:
    """A run that is started in Kubeflow's pages has an empty input."""
    (run,) = prepare_runs(store, recipe, [{"data_uri": ""}], ASKED)
    assert specs(store, [run])[0].places["data_uri"] == f"{store.uri}/_data/my_towns"


def test_the_folder_of_a_recipe_file_is_recorded(
    store: Store, tmp_path: Path, recipe: Recipe
) -> None:
    (tmp_path / "my_towns.py").write_text(SOURCE)
    runs = prepare_runs(store, find_recipe(tmp_path / "my_towns.py"), [{}], ASKED)
    runs += prepare_runs(store, recipe, [{}], ASKED)
    assert [s.folder for s in specs(store, runs)] == [str(tmp_path), None]
    assert [s.file for s in specs(store, runs)] == [str(tmp_path / "my_towns.py"), None]


def test_a_requested_name_is_the_name_of_the_run(store: Store, recipe: Recipe) -> None:
    (run,) = prepare_runs(
        store, recipe, [{"lr": 0.1}], SubmitOptions("towns", "local", name="the one")
    )
    assert specs(store, [run])[0].name == "the one"


def test_a_recipe_without_locations_gets_none(store: Store) -> None:
    (run,) = prepare_runs(store, Recipe("r", "def get_config(runner): ..."), [{}], ASKED)
    assert specs(store, [run])[0].places == {}


def test_the_shipped_recipes_can_be_prepared(store: Store) -> None:
    (run,) = prepare_runs(store, find_recipe("synthetic_town"), [{}], ASKED)
    assert specs(store, [run])[0].params == dict(
        find_recipe("synthetic_town").signature.bind({})[0]
    )


@pytest.mark.parametrize(
    ("points", "names"),
    [
        ([{}], ["my_towns"]),
        ([{"lr": 0.1, "epochs": 2}], ["lr=0.1 epochs=2"]),
        ([{"lr": 0.1, "epochs": 2}, {"lr": 0.2, "epochs": 2}], ["lr=0.1", "lr=0.2"]),
        ([{"lr": 0.1}, {"epochs": 3}], ["lr=0.1", "epochs=3"]),
        ([{"lr": 0.1}, {}], ["lr=0.1", "my_towns"]),
        ([{"seed": 0}, {"seed": 1}], ["seed=0", "seed=1"]),
        ([{"lr": 0.1}, {"lr": 0.1}], ["lr=0.1", "lr=0.1"]),
    ],
)
def test_a_run_is_named_after_the_parameters_that_differ(
    store: Store, recipe: Recipe, points: list[dict[str, Any]], names: list[str]
) -> None:
    assert [s.name for s in specs(store, prepare_runs(store, recipe, points, ASKED))] == names


def test_the_runs_of_a_sweep_differ_and_sort_as_their_points(store: Store, recipe: Recipe) -> None:
    asked = SubmitOptions("towns", "local", sweep="the-sweep", parent="the-parent")
    runs = prepare_runs(store, recipe, grid(epochs=range(60)), asked)
    assert len(set(runs)) == 60
    assert runs == sorted(runs)
    assert list_runs(store, "towns").active == runs
    written = specs(store, runs)
    assert [s.params["epochs"] for s in written] == list(range(60))
    assert {(s.sweep, s.parent) for s in written} == {("the-sweep", "the-parent")}


# Seeds


def seeds(store: Store, recipe: Recipe, points: Sequence[Mapping[str, Any]], **asked: Any) -> Any:
    runs = prepare_runs(store, recipe, points, SubmitOptions("towns", "local", **asked))
    return [(s.seed, s.params.get("seed")) for s in specs(store, runs)]


def test_a_seed_in_a_point_is_the_seed_of_the_run(store: Store, recipe: Recipe) -> None:
    assert seeds(store, recipe, [{"seed": 3}, {}], seed=7) == [(3, None), (7, None)]
    assert seeds(store, recipe, [{"seed": np.int64(3)}]) == [(3, None)]


def test_a_recipe_with_a_seed_parameter_gets_the_seed_of_the_run(store: Store) -> None:
    seeded = Recipe("seeded", SEEDED)
    assert seeds(store, seeded, [{"seed": 3}, {}], seed=7) == [(3, 3), (7, 7)]
    assert seeds(store, seeded, [{}]) == [(42, 42)]


@pytest.mark.parametrize("seed", [-1, 1.5, "1", None, True])
def test_a_seed_must_be_a_non_negative_integer(store: Store, recipe: Recipe, seed: Any) -> None:
    with pytest.raises(SpecError, match=r"^seed must be an integer from 0 to"):
        prepare_runs(store, recipe, [{}, {"seed": seed}], ASKED)
    assert store.files() == []


# Refused submissions


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"chp": 1}, "^my_towns has no parameter 'chp'. There are 'data_uri', 'epochs', 'lr', "),
        ({"ephocs": 1}, "^my_towns has no parameter 'ephocs'. Did you mean 'epochs'"),
        ({"lr": "high"}, "^my_towns: the parameter 'lr' is float, but 'high' was given"),
        ({"lr": float("nan")}, "^my_towns: the parameter 'lr' is nan, which JSON cannot hold"),
        ({"root_uri": "x"}, "^my_towns: 'root_uri' is filled in by rvlab"),
        ({"data_uri": 5}, "^my_towns: 'data_uri' is a URI, but 5 was given"),
        ({"seed": (1,)}, r"^seed is \(1,\), a tuple, which JSON cannot hold"),
    ],
)
def test_one_invalid_point_writes_nothing(
    store: Store, recipe: Recipe, bad: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        prepare_runs(store, recipe, [{"lr": 1e-3}, bad, {}], ASKED)
    assert not Path(store.uri).exists()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"experiment": "my towns"}, "^'my towns' is not a valid experiment name"),
        ({"experiment": "_data"}, "^'_data' is not a valid experiment name"),
        ({"experiment": 5}, "^5 is not a valid experiment name"),
        ({"splits": 0}, "^splits must be an integer from 1 to"),
        ({"splits": True}, r"^splits must be .*, got True"),
        ({"splits": 2.0}, "^splits must be .*, got 2.0"),
        ({"seed": -1}, "^seed must be an integer from 0 to"),
    ],
)
def test_invalid_options_are_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        SubmitOptions(**{"experiment": "towns", "engine": "local", **asked})


def test_a_store_that_raster_vision_cannot_write_is_refused(recipe: Recipe) -> None:
    store = Store("memory://submission")
    with pytest.raises(
        SpecError, match=r"writes only to local folders and s3://, not to 'memory://submission'"
    ):
        prepare_runs(store, recipe, [{}], ASKED)
    assert store.files() == []


def test_a_store_that_refuses_is_reported(tmp_path: Path, recipe: Recipe) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"^The run was not submitted: The store .* cannot be"):
        prepare_runs(Store(tmp_path / "file" / "x"), recipe, [{}], ASKED)


# Git


def git(folder: Path, *args: str) -> str:
    settings = ["-c", "user.name=me", "-c", "user.email=me@here", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", "-C", str(folder), *settings, *args], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "my_towns.py").write_text(SOURCE)
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "A recipe")
    return folder


def commit_of(store: Store, recipe: Recipe) -> tuple[str | None, bool | None]:
    (spec,) = specs(store, prepare_runs(store, recipe, [{}], ASKED))
    return spec.commit, spec.dirty


def test_the_commit_of_the_recipes_folder_is_recorded(store: Store, repository: Path) -> None:
    head = git(repository, "rev-parse", "HEAD")
    found = find_recipe(repository / "my_towns.py")
    assert commit_of(store, found) == (head, False)
    (repository / "my_towns.py").write_text(f"{SOURCE}\n# changed\n")
    assert commit_of(store, found) == (head, True)
    git(repository, "commit", "-q", "-a", "-m", "Changed")
    assert commit_of(store, found) == (git(repository, "rev-parse", "HEAD"), False)
    (repository / "beside.py").write_text("")
    assert commit_of(store, found)[1] is True


def test_a_notebook_cell_has_the_commit_of_its_working_folder(
    store: Store, repository: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    assert commit_of(store, recipe) == (git(repository, "rev-parse", "HEAD"), False)


def test_the_commit_is_missing_without_a_repository_or_a_first_commit(
    store: Store, tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    folder = tmp_path / "new"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert commit_of(store, recipe) == (None, None)
    git(folder, "init", "-q")
    assert commit_of(store, recipe) == (None, None)


def test_the_commit_is_missing_without_git(
    store: Store, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit_of(store, recipe) == (None, None)


# Secrets


def test_no_record_contains_a_secret(
    s3: Server, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = S3Access(s3.endpoint, s3.access_key, s3.secret_key)
    for name, value in access.environ().items():
        monkeypatch.setenv(name, value)
    store = Store(f"s3://{s3.bucket}/submission", access)
    runs = prepare_runs(store, recipe, grid(epochs=[1, 2, 3]), ASKED)
    keys = [key for key, _ in store.files()]
    assert len(keys) == 3 * len(runs) + 1
    for key in keys:
        data = store.get(key)
        assert s3.secret_key.encode() not in data
        assert s3.access_key.encode() not in data
    for run in runs:
        assert s3.secret_key not in run.uri + repr(run)


def test_the_submitter_is_recorded_without_a_user_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert current_user().count("@") == 1
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert current_user().startswith("54321@")
