"""The live view of runs: its sections, its static picture, and the widget in JupyterLab."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rvlab import Lab, LocalEngine
from rvlab.errors import EngineError, NotFound, WaitInterrupted
from rvlab.model import ReportedState, Run
from rvlab.store import Store
from rvlab.viewer import run_monitor
from rvlab.viewer.run_monitor import RunMonitor
from tests.browser import JupyterLab
from tests.frame.samples import Made

LOG = "epoch,train_time,valid_time,train_loss,val_loss,avg_f1\n"
SCRIPT = "<img src=x onerror=alert(1)>"


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(Store(tmp_path / "store"))


def training(made: Made, epochs: int = 3, **more: Any) -> Run:
    """Write a run that trains."""
    run = made.running(**more)
    made.store.put_json(run.key("plan.json"), {"steps": ["chip", "train", "predict"], "splits": {}})
    config = {"backend": {"solver": {"num_epochs": 8}}}
    made.store.put_json(run.key("rv", "pipeline-config.json"), config)
    rows = "".join(f"{n},0:00:04,0:00:01,{1 / (n + 1)},0.9,0.{n}\n" for n in range(epochs))
    made.store.put(run.key("rv", "train", "log.csv"), (LOG + rows).encode())
    made.store.put(run.log_key("train"), b"line 1\nline 2\n")
    return run


def monitor(
    made: Made, runs: Any = None, cancel: Callable[..., None] = lambda _: None, **more: Any
) -> RunMonitor:
    lab = Lab(made.store)
    return RunMonitor(made.store, lab.runs(runs), cancel=cancel, **more)


def advance(shown: RunMonitor, times: int = 12) -> dict[str, str]:
    for _ in range(times):
        shown.advance()
    return dict(shown.sections(live=True))


def test_card_shows_epoch_curves_steps_and_buttons(made: Made) -> None:
    run = training(made, params={"lr": 0.1})
    card = advance(monitor(made))[run.prefix]
    assert "epoch 3 of 8" in card
    assert card.count("<polyline") == 3, "two losses and one score"
    assert 'data-do="cancel"' in card
    assert "line 2" not in card


def test_log_is_shown_on_demand_for_one_run_at_a_time(made: Made) -> None:
    first, second = training(made, params={"lr": 0.1}), training(made, params={"lr": 0.2})
    shown = monitor(made)
    shown.toggle_log(first.prefix)
    shown.toggle_log(second.prefix)
    sections = advance(shown)
    assert "line 2" in sections[second.prefix]
    assert "line 2" not in sections[first.prefix]
    shown.toggle_log(second.prefix)
    assert "line 2" not in dict(shown.sections(live=True))[second.prefix]


def test_leaderboard_orders_ended_runs_and_names_their_parameters(made: Made) -> None:
    for lr, f1 in [(0.1, 0.5), (0.2, 0.75), (0.3, 0.25)]:
        made.ended({"lr": lr}, {"f1": f1, "recall": 0.5, "f1.road": 0.1})
    shown = monitor(made)
    board = advance(shown)["board"]
    cells = [text.partition("<")[0] for text in board.split("<td>")[1:]]
    assert [cells[i + 1 : i + 4] for i in range(0, len(cells), 5)] == [
        ["0.2", "0.750", "0.500"],
        ["0.1", "0.500", "0.500"],
        ["0.3", "0.250", "0.500"],
    ]
    assert shown.has_ended


def test_cancel_passes_active_runs_and_shows_a_failure(made: Made) -> None:
    made.ended({"lr": 1.0}, {"f1": 0.5})
    first, second = training(made, params={"lr": 0.1}), training(made, params={"lr": 0.2})
    asked: list[list[Run]] = []

    def cancel(runs: list[Run]) -> None:
        asked.append(runs)
        if len(runs) == 2:
            raise EngineError("The engine cannot be reached.")

    shown = monitor(made, cancel=cancel)
    shown.cancel(first.prefix)
    shown.cancel()
    assert asked == [[first], [first, second]]
    assert "The engine cannot be reached." in dict(shown.sections(live=True))["head"]


def test_text_of_runs_is_escaped(made: Made) -> None:
    run = training(made, params={"lr": SCRIPT})
    training(made, params={"lr": "1"})
    made.store.put(run.log_key("train"), SCRIPT.encode())
    ended = made.ended({"lr": SCRIPT}, {SCRIPT: 0.5, "f1": 0.5})
    failed = made.ended({"lr": "2"}, state="failed", step="train", error=SCRIPT)
    shown = monitor(made)
    shown.toggle_log(run.prefix)
    sections = advance(shown, 16)
    assert SCRIPT not in "".join(sections.values())
    for name in (run.prefix, ended.prefix, failed.prefix):
        assert "&lt;img src=x" in sections[name]


def test_many_runs_take_turns(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_monitor, "MAX_REQUESTS", 2)
    for number in range(5):
        made.ended({"lr": number}, {"f1": 0.5})
    shown = monitor(made)
    advance(shown, 30)
    assert shown.has_ended


@pytest.mark.parametrize("state", ["lost", "not submitted"])
def test_run_that_the_engine_does_not_have_ends_the_view(
    made: Made, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setattr("rvlab.frame.progress.QUERY_AFTER_S", -1.0)
    monkeypatch.setattr(run_monitor, "ENGINE_EVERY_S", 0.0)
    run = training(made, beat_ago_s=30)
    found = ReportedState(state, reason="Kubeflow answered 403.")
    shown = monitor(made, ask=lambda rows: {row["_run"]: found for row in rows})
    sections = advance(shown, 3)
    assert shown.has_ended
    assert f">{state}<" in sections[run.prefix]
    assert "Kubeflow answered 403." in sections[run.prefix]


def test_view_of_no_runs_is_refused(made: Made) -> None:
    with pytest.raises(NotFound, match="No runs to watch"):
        Lab(made.store).watch()


def test_ended_runs_are_shown_at_once_without_a_widget(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made.ended({"lr": 0.1}, {"f1": 0.5})
    made.step(run, "train", state="succeeded", ended=datetime.now(UTC).isoformat())
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "IPython.display.publish_display_data", lambda data, **_: shown.append(data)
    )
    view = Lab(made.store).watch(run)
    view._ipython_display_()
    assert list(shown[0]) == ["text/html", "text/plain"]
    assert "<button" not in shown[0]["text/html"]
    assert "0.500" in shown[0]["text/html"]
    assert "succeeded" in repr(view)


def test_interrupted_wait_says_that_the_runs_continue(made: Made) -> None:
    class Interrupting(LocalEngine):
        """An engine in whose calls the user interrupts the wait."""

        def resume(self, store: Store) -> None:
            raise KeyboardInterrupt

    training(made)
    with pytest.raises(
        WaitInterrupted, match=r"1 of 1 runs have not ended\. They continue"
    ) as caught:
        Lab(made.store, Interrupting()).wait(progress=False)
    assert caught.value._render_traceback_() == [str(caught.value)]
    assert isinstance(caught.value, KeyboardInterrupt)


CELLS = (
    """
from rvlab import Lab, LocalEngine
lab = Lab({store!r})
runs = lab.runs("towns")
""",
    "lab.watch(runs)",
    "print('the kernel ' + 'is free')",
    "lab.run({run!r})",
)


@pytest.mark.slow
def test_widget_in_jupyterlab(page: Any, jupyterlab: JupyterLab, made: Made) -> None:
    first, second = training(made, params={"lr": 0.1}), training(made, params={"lr": 0.2})
    done = made.ended({"lr": 0.3}, {"f1": 0.5}, experiment="others")
    cells = [cell.format(store=made.store.uri, run=done.id) for cell in CELLS]
    page.goto(jupyterlab.notebook("watch", *cells))
    page.wait_for_function("window.jupyterapp?.shell?.currentWidget?.sessionContext?.isReady")
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_selector(".rvlab-watch polyline")
    page.wait_for_selector("text=the kernel is free")
    page.wait_for_selector(f"section[data-run='{done.prefix}'] >> text=succeeded")
    page.click(f"button[data-do=log][data-run='{first.prefix}']")
    page.wait_for_selector(f"section[data-run='{first.prefix}'] pre >> text=line 2")
    page.click(f"button[data-do=cancel][data-run='{first.prefix}']")
    page.wait_for_selector(f"section[data-run='{first.prefix}'] >> text=cancelled")
    made.end(second, {"f1": 0.75})
    page.wait_for_selector(".rvlab-board td >> text=0.750")
    static = "document.querySelectorAll('.rvlab-watch style').length === 2"  # with the last cell's
    page.wait_for_function(static)
    assert page.locator(".rvlab-watch button").count() == 0
    page.evaluate("jupyterapp.commands.execute('docmanager:save')")
    file = jupyterlab.folder / "watch.ipynb"
    while "rvlab-board" not in file.read_text():  # the file is written by the server
        page.wait_for_timeout(200)
    book = json.loads(file.read_text())
    (output,) = book["cells"][1]["outputs"]
    assert sorted(output["data"]) == ["text/html", "text/plain"], "no widget, but a static picture"
    assert "0.750" in "".join(output["data"]["text/html"])
