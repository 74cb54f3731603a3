"""Finding runs, experiments and recipes with `rvlab.Lab`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rvlab import Lab, LocalEngine
from rvlab.actions.watch import monitor_runs
from rvlab.cli import main
from rvlab.errors import HasEnded, NotFound, SpecError, TableError
from rvlab.model import ReportedState, Run
from rvlab.recipes import find_recipe, shipped_recipes
from rvlab.recipes.describe import describe_recipe
from rvlab.store import Store
from rvlab.submission import current_user
from tests.frame.samples import Made


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(Store(tmp_path / "store"))


@pytest.fixture
def lab(made: Made) -> Lab:
    return Lab(made.store)


def test_filters_are_combined_with_the_selection_and_each_other(made: Made, lab: Lab) -> None:
    first, second = made.ended({"lr": 0.1}), made.queued()
    third = made.ended(state="failed", step="train", error="no memory")
    road = made.ended(experiment="roads")
    lab.tag([first, road], "good", "paper, v2")
    lab.tag(third, "good")

    def ids(*args: Any, **filters: Any) -> list[str]:
        return list(lab.runs(*args, **filters).index)

    assert ids(experiment="roads") == [road.id]
    assert set(ids(experiment=["towns", "roads"])) == {first.id, second.id, third.id, road.id}
    assert ids(state="queued") == [second.id]
    assert ids("towns", state=["failed", "queued"]) == [second.id, third.id]
    assert ids([second, third], state=["failed", "succeeded"]) == [third.id]
    assert set(ids(tags="good")) == {first.id, third.id, road.id}
    assert ids("towns", tags=["good", "paper, v2"], state="succeeded") == [first.id]
    assert ids(tags="paper, v") == []
    assert ids(lab.runs(state="queued"), experiment="roads") == []
    assert ids(state=[]) == ids(experiment=[]) == []
    assert ids(tags=[]) == ids()
    assert set(lab.runs(state="lost")) == set(lab.runs())


def test_run_that_ends_while_its_engine_is_queried_is_not_lost(made: Made) -> None:
    class Ending(LocalEngine):
        """An engine whose run ends just before the query."""

        def states(self, store: Store, runs: Sequence[Run]) -> dict[Run, ReportedState]:
            made.end(runs[0])
            return dict.fromkeys(runs, ReportedState("lost"))

    ended, lost = (made.queued(user=current_user()) for _ in range(2))
    lab = Lab(made.store, Ending())
    assert lab.runs()["state"].to_dict() == {ended.id: "queued", lost.id: "lost"}
    assert lab.runs()["state"][ended.id] == "succeeded"


def test_filtered_table_begins_with_the_parameters_in_which_its_runs_differ(
    made: Made, lab: Lab
) -> None:
    for lr in (0.1, 0.2):
        made.ended({"lr": lr, "width": 4}, {"f1": 0.5})
    made.ended({"lr": 0.1, "width": 8}, state="failed", step="train", error="no memory")
    table = lab.runs(state="succeeded")
    assert list(table)[:6] == ["name", "state", "metrics.f1", "params.lr", "duration", "age"]
    assert table["params.width"].tolist() == [4, 4]


def test_unknown_values_of_filters_are_refused_with_the_near_name(made: Made, lab: Lab) -> None:
    made.queued()
    with pytest.raises(SpecError, match=r"^A run cannot have the state 'done'.*'succeeded'\?$"):
        lab.runs(state="done")
    with pytest.raises(SpecError, match=r"the state 'faild'\. Did you mean 'failed'\?$"):
        lab.runs(state=["queued", "faild"])
    with pytest.raises(NotFound, match=r"^No experiment 'town' in .* Did you mean 'towns'\?$"):
        lab.runs(experiment="town")
    with pytest.raises(SpecError, match=r"^'' is not a valid tag\."):
        lab.runs(tags="")


def test_experiments_are_rows_with_states_and_the_best_run(made: Made, lab: Lab) -> None:
    _, best, _ = [made.ended(metrics={"f1": f1, "val": 1 - f1}) for f1 in (0.5, 0.7, 0.6)]
    made.ended(state="failed", step="train", error="no memory")
    made.ended(state="cancelled")
    road = made.queued(experiment="roads", recipe="vegas")
    table: Any = lab.experiments()
    assert list(table.index) == ["roads", "towns"], "the newest first"
    assert table.index.name == "experiment"
    towns = table.loc["towns"]
    counts = towns[["runs", "succeeded", "active", "failed", "cancelled"]].tolist()
    assert counts == [5, 3, 0, 1, 1]
    assert towns["metrics.f1"] == 0.7
    assert lab.run(towns["best_run"]) == best == lab.best("towns")
    assert table["recipes"].to_dict() == {"roads": "vegas", "towns": "synthetic_town"}
    roads = table.loc["roads"]
    assert [roads["active"], roads["metrics.f1"] == roads["metrics.f1"]] == [1, False]
    assert roads["newest"] == lab.runs(road)["created"].iloc[0]
    assert lab.experiments(metric="val", ascending=True).loc["towns", "metrics.val"] == 1 - 0.7
    with pytest.raises(TableError, match=r"^No run has the metric 'miou'\."):
        lab.experiments(metric="miou")


def test_experiments_of_an_empty_store_have_all_columns(lab: Lab, made: Made) -> None:
    empty = lab.experiments()
    made.ended(metrics={"f1": 0.5})
    table = lab.experiments()
    assert list(empty.columns) == list(table.columns)
    assert empty.dtypes.to_dict() == table.dtypes.to_dict()


def test_best_is_not_a_run_that_still_trains_because_of_a_prediction(made: Made, lab: Lab) -> None:
    made.ended()
    made.ended(metrics={"f1": 0.9}, kind="prediction")
    with pytest.raises(TableError, match="The run has no metrics"):
        lab.best("towns")


def test_best_returns_a_run_and_warns_of_several_evaluation_sets(made: Made, lab: Lab) -> None:
    runs = [made.ended(metrics={"f1": f1, "val": f1}) for f1 in (0.5, 0.7, 0.6, 0.7)]
    assert lab.best() == lab.best("towns", "metrics.f1") == runs[1]
    assert lab.best("towns", "val", ascending=True) == runs[0]
    assert lab.best([runs[0].id, runs[2].id[-6:]], "f1") == runs[2]
    other = made.ended(metrics={"f1": 0.9})
    for run, name in zip([*runs, other], "aaaab", strict=True):
        record = made.store.get_json(run.end_key)
        made.store.put_json(run.end_key, {**record, "eval_set": name * 64})
    with pytest.warns(UserWarning, match="evaluated on 2 different sets"):
        assert lab.best() == runs[1]
    assert lab.best(across_sets=True) == other
    experiments: Any = lab.experiments()
    assert experiments.loc["towns", ["metrics.f1", "eval_sets"]].tolist() == [0.7, 2]


def test_best_run_of_an_experiment_is_that_of_the_same_evaluation_set(made: Made, lab: Lab) -> None:
    runs = [made.ended(metrics={"f1": f1, "test.f1": 1 - f1}) for f1 in (0.98, 0.9)]
    for run, name in zip(runs, "ba", strict=True):
        record = made.store.get_json(run.end_key)
        made.store.put_json(
            run.end_key, {**record, "eval_set": name * 64, "eval_sets": {"test": "c" * 64}}
        )
    with pytest.warns(UserWarning, match="2 different sets") as caught:
        best = lab.best()
    assert caught[0].filename == __file__
    experiments: Any = lab.experiments()
    assert experiments.loc["towns", "best_run"] == best.id == runs[1].id
    experiments = lab.experiments(metric="test.f1")
    assert experiments.loc["towns", ["best_run", "eval_sets"]].tolist() == [runs[1].id, 1]


def test_watch_refuses_a_metric_that_no_run_has(made: Made, lab: Lab) -> None:
    pytest.importorskip("anywidget")
    made.queued()
    lab.watch("towns", metric="any")  # nothing is known before the first score
    made.ended(metrics={"f1": 0.5})
    with pytest.raises(TableError, match=r"^No run has the metric 'nope'\."):
        lab.watch("towns", metric="nope")
    with pytest.raises(TableError, match=r"'seed' is not one\.$"):
        lab.watch("towns", metric="seed")


def test_column_of_uris_selects_its_runs(made: Made, lab: Lab) -> None:
    runs = [made.ended({"lr": lr}) for lr in (0.1, 0.2, 0.3)]
    uris = lab.runs()["uri"].iloc[[2, 0]]
    assert list(lab.runs(uris).index) == [runs[2].id, runs[0].id]


def test_filters_take_texts_only(lab: Lab) -> None:
    for name in ("experiment", "state", "tags"):
        message = rf"^{name} must be text, or a list of texts, got 5\.$"
        for wrong in (5, ["queued", 5]):
            given: dict[str, Any] = {name: wrong}
            with pytest.raises(SpecError, match=message):
                lab.runs(**given)


def test_id_in_two_experiments_is_ambiguous_and_tables_by_run_refuse_it(
    made: Made, lab: Lab
) -> None:
    first = made.ended({"lr": 0.1}, {"f1": 0.5}, run="20261123-154201-a1e777")
    twin = made.ended({"lr": 0.2}, {"f1": 0.6}, run=first.id, experiment="roads")
    for name in (first.id, "a1e777"):
        with pytest.raises(SpecError, match=r"^2 runs have .*Name one as experiment/id\.$"):
            lab.run(name)
    assert [lab.run(run.prefix) for run in (first, twin)] == [first, twin]
    assert len(lab.runs()) == 2
    with pytest.raises(TableError, match="have the same id") as caught:
        lab.history()
    assert first.prefix in str(caught.value)
    assert twin.prefix in str(caught.value)
    assert lab.history("towns").empty
    shown = monitor_runs(lab.store, lab.engine, [first, twin])
    shown.read_now()
    assert [text.split()[:2] for text in shown.text().splitlines()] == [
        ["succeeded", "lr"],
        ["succeeded", "lr"],
    ]
    assert {key for key, _ in shown.sections(live=False)} >= {first.prefix, twin.prefix}


def test_best_without_a_score_says_what_is_missing(made: Made, lab: Lab) -> None:
    with pytest.raises(NotFound, match=r"^No run to choose from in "):
        lab.best()
    made.queued()
    lone = r"^The run has no metrics\. lab\.runs\(…\)\['state'\] shows its state\.$"
    with pytest.raises(TableError, match=lone):
        lab.best("towns")
    made.queued({"metrics.x": 1}, experiment="roads")
    made.queued(experiment="roads")
    with pytest.raises(TableError, match=r"^None of these 2 runs has metrics\. .* their states\.$"):
        lab.best("roads")
    assert "metrics.mean_iou" in lab.experiments(metric="mean_iou")
    assert "costs.train_s" in lab.experiments(metric="costs.train_s")
    made.ended(metrics={"f1": 0.5})
    with pytest.raises(TableError, match=r"metric 'loss'\. Metrics that exist: metrics\.f1"):
        lab.best("towns", "loss")
    with pytest.raises(NotFound, match=r"'twons'.* Did you mean 'towns'\?$"):
        lab.best("twons")


def test_recipes_are_rows_with_their_parameters_and_needs(lab: Lab) -> None:
    table: Any = lab.recipes()
    assert list(table.index) == shipped_recipes()
    assert not table.isna().any(axis=None), "each recipe describes itself completely"
    assert table.loc["synthetic_town_detection", "task"] == "object detection"
    assert table.loc["synthetic_town", "parameters"].startswith("lr=0.01, epochs=12, width=8")
    assert table.loc["spacenet_vegas", "parameters"].startswith("raw_uri, target='buildings'")
    assert table.loc["synthetic_town", "needs"] == "no data; the scenes are drawn"


def test_recipe_without_a_docstring_has_only_its_parameters(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text("N = len('ab')\ndef get_config(runner, root_uri, lr=1e-3, n=N): ...\n")
    found = describe_recipe(find_recipe(path))
    assert (found.task, found.description, found.needs) == (None, None, None)
    assert found.parameters == "lr=0.001, n=…"


def test_end_of_an_id_is_enough_to_cancel_and_to_delete(
    made: Made, lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    made.ended(run="20261123-154201-a1e777")
    run = made.ended(run="20261123-154202-c3e777")
    with pytest.raises(SpecError, match=r"^2 runs have ids that end with 'e777'"):
        lab.delete("e777", confirm="e777")
    with pytest.raises(SpecError, match=r"^2 runs have ids that end with 'e777'"):
        lab.cancel("e777")
    with pytest.raises(SpecError, match=rf"type or pass '{run.id}', got 'c3e777'"):
        lab.delete("c3e777", confirm="c3e777")
    with pytest.raises(HasEnded, match=run.id):
        lab.cancel("c3e777")
    assert main(["--store", lab.store.uri, "delete", "c3e777", "--yes-delete", run.id]) == 0
    assert len(lab.runs()) == 1
    assert main(["--store", lab.store.uri, "delete", "c3e777", "--yes-delete", run.id]) == 1
    assert "No experiment or run 'c3e777'" in capsys.readouterr().err
    assert isinstance(lab.run("a1e777"), Run)
