"""`rvlab.Lab` with trained runs and invalid input."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import rvlab
from rvlab import Lab
from rvlab.errors import NotFound, RvlabError, SpecError
from rvlab.model import Run
from rvlab.store import Store
from tests.conftest import TINY, Trained


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "store")


def test_repr_of_lab_shows_the_store_but_no_secret(lab: Lab, trained: Trained) -> None:
    assert repr(lab) == f"Lab(store={str(lab.store.uri)!r}, engine='local')"
    secret = trained.lab.store.access.secret_key
    assert secret
    for thing in (trained.lab, trained.lab.store, trained.lab.store.access):
        assert secret not in repr(thing)


def test_tables_of_an_empty_store_have_all_columns(lab: Lab) -> None:
    table = lab.runs()
    assert table.empty
    assert table["created"].dtype == "datetime64[s, UTC]"
    assert table["duration"].dtype == "timedelta64[s]"
    assert {"run", "epoch"} <= set(lab.history())
    assert list(lab.evals()) == ["run", "name", "group", "scene", "class", "metric", "value"]


def test_sweep_with_an_invalid_point_starts_no_run(lab: Lab) -> None:
    with pytest.raises(SpecError, match=r"has no parameter 'eposh'. Did you mean 'epochs'\?"):
        lab.sweep(TINY, [{"lr": 1e-3}, {"eposh": 2}])
    assert lab.runs().empty


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lr": "fast"}, "the parameter 'lr' is float, but 'fast' was given"),
        ({"lr": float("nan")}, "the parameter 'lr' is nan, which JSON cannot hold"),
        ({"epochs": 1.5}, "the parameter 'epochs' is int, but 1.5 was given"),
        ({"root_uri": "here"}, "'root_uri' is filled in by rvlab"),
        ({"splits": 0}, "splits must be an integer from 1 to"),
        ({"seed": -1}, "seed must be an integer from 0 to"),
        ({"experiment": "a/b"}, "'a/b' is not a valid experiment name"),
        ({"experiment": "_data"}, "'_data' is not a valid experiment name"),
    ],
)
def test_invalid_input_is_refused_before_a_run_starts(
    lab: Lab, given: dict[str, object], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        lab.submit(TINY, **given)  # type: ignore[arg-type]
    assert lab.runs().empty


def test_sweep_refuses_empty_points_and_duplicate_parameters(lab: Lab) -> None:
    with pytest.raises(SpecError, match="The sweep has no points"):
        lab.sweep(TINY, [])
    with pytest.raises(SpecError, match="'lr' is given for the sweep and in its points"):
        lab.sweep(TINY, rvlab.grid(lr=[1e-2]), lr=1e-3)


def test_errors_for_unknown_names_suggest_similar_names(trained: Trained) -> None:
    lab = trained.lab
    run = trained.runs["first"]
    with pytest.raises(NotFound, match=r"No experiment or run 'tinny'.* Did you mean 'tiny'\?"):
        lab.runs("tinny")
    with pytest.raises(NotFound, match=f"No run .* Did you mean .*{run.id}"):
        lab.run(f"{run.id[:-1]}z")
    with pytest.raises(NotFound, match=f"The run {run.id} has no log of 'trian'"):
        lab.logs(run, "trian")


def test_unknown_engine_or_recipe_raises_with_a_suggestion(tmp_path: Path, lab: Lab) -> None:
    with pytest.raises(SpecError, match=r"Unknown engine 'locl'. Did you mean 'local'\?"):
        Lab(tmp_path, engine="locl")
    with pytest.raises(
        SpecError, match=r"Recipe 'synthetic_twon' not found. Did you mean 'synthetic_town'"
    ):
        lab.submit("synthetic_twon")


def test_runs_accepts_every_kind_of_selector(trained: Trained) -> None:
    lab, run = trained.lab, trained.runs["first"]
    for name in (
        run,
        run.id,
        run.uri,
        f"tiny/{run.id}",
        [run],
        [run.id],
        trained.table.loc[run.id],
    ):
        assert lab.runs(name).index.tolist() == [run.id]
    assert len(lab.runs("tiny")) == len(trained.runs)
    assert lab.runs(trained.table.head(2)).index.tolist() == trained.table.index[:2].tolist()


def test_table_of_runs_is_a_plain_dataframe(trained: Trained) -> None:
    runs = trained.lab.runs("tiny")
    assert type(runs) is pd.DataFrame
    assert (
        runs.sort_values("metrics.f1", ascending=False)["metrics.f1"]
        .dropna()
        .is_monotonic_decreasing
    )
    assert len(runs.query("state == 'succeeded' and `params.epochs` == 2")) == 4
    evals = trained.lab.evals(runs)
    assert evals.groupby("params.nochip")["run"].nunique().tolist() == [3, 1]


def test_wait_raises_after_the_timeout(lab: Lab) -> None:
    run = lab.submit(TINY, epochs=10_000)
    with pytest.raises(TimeoutError, match=r"1 of 1 runs have not ended in 0.5 s. They continue"):
        lab.wait(run, timeout_s=0.5, progress=False)
    lab.cancel(run)


def test_truncated_record_gives_a_broken_row_with_the_reason(
    trained: Trained, tmp_path: Path
) -> None:
    lab = Lab(tmp_path / "copy")
    for name in ("first", "raises"):
        run = trained.runs[name]
        data = trained.lab.store.get(run.end_key)
        lab.store.put(run.end_key, data if name == "raises" else data[: len(data) // 2])
    table = lab.runs()
    assert sorted(table["state"]) == ["broken", "failed"]
    error = table.query("state == 'broken'")["error"].item()
    assert "is not whole JSON" in error


def test_store_that_raster_vision_cannot_write_is_refused() -> None:
    lab = Lab("memory://somewhere")
    with pytest.raises(SpecError, match="writes only to local folders and s3://"):
        lab.submit(TINY)


def test_get_config_function_is_a_recipe(lab: Lab) -> None:
    """The function is from this file; tests/recipes/test_cell.py uses a real notebook."""

    def get_other_config(runner: object, root_uri: str, word: str = "default") -> None:
        raise OSError(word)

    run = lab.submit(get_other_config, word="from a cell")
    row = lab.wait(run, progress=False).iloc[0]
    assert row["error"] == "OSError: from a cell"
    assert row["params.word"] == "from a cell"


def test_all_errors_inherit_from_rvlab_error(lab: Lab) -> None:
    with pytest.raises(RvlabError):
        lab.runs("nothing-here")
    assert isinstance(lab.store, Store)


def test_configs_of_no_runs_are_an_empty_table(lab: Lab, trained: Trained) -> None:
    for table in (lab.configs(), trained.lab.configs(trained.table.head(0))):
        assert table.empty
        assert table.index.name == "run"


def test_logs_accept_a_row_and_refuse_a_missing_run(lab: Lab, trained: Trained) -> None:
    text = trained.lab.logs(trained.runs["first"], "train")
    assert trained.lab.logs(trained.row("first"), "train") == text
    with pytest.raises(NotFound, match="No experiment 'towns'"):
        lab.logs(Run(lab.store.uri, "towns", "20261123-154200-ffffff"))
