"""How a lab, a run and a sweep show themselves, without a notebook's widgets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from rvlab import Lab
from rvlab.actions import quick_reads, watch
from rvlab.actions.show_lab import MAX_EXPERIMENTS, submission_time
from rvlab.model import Run, Sweep
from rvlab.store import Store
from tests.frame.samples import Made


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(Store(tmp_path / "<store>"))


def test_lab_shows_its_store_and_the_newest_experiments(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab(made.store)
    quick_reads.quick_listings(made.store, wait_s=60)
    assert "No runs yet." in lab._repr_html_()
    for n in range(MAX_EXPERIMENTS + 2):
        made.ended(experiment=f"towns-{n}", run=f"20261123-1542{n:02}-00000{n}")
    made.queued(experiment="towns-1", run="20261124-154201-c3e777")
    monkeypatch.setattr("rvlab.actions.quick_reads._cache", quick_reads.TimedCache())
    quick_reads.quick_listings(made.store, wait_s=60)
    html = lab._repr_html_()  # if the machine is busy, by the listing above
    assert "&lt;store&gt;" in html
    assert "<store>" not in html
    cells = [text.partition("<")[0] for text in html.split("<td")[1:]]
    row = [cell.partition(">")[2] for cell in cells[:4]]
    assert row == ["towns-1", "2", "1", "2026-11-24 15:42 UTC"]
    assert "and 2 more" in html


def test_lab_does_not_wait_for_its_store(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rvlab.actions.show_lab.quick_listings", lambda *_, **__: None)
    assert "The store has not answered yet." in Lab(made.store)._repr_html_()


def test_id_without_a_time_is_shown_as_it_is() -> None:
    assert submission_time("20261123-154201-c3e777") == "2026-11-23 15:42 UTC"
    assert submission_time("mine") == "mine"


def test_sweep_is_a_list_with_a_short_text() -> None:
    runs = [Run("/store", "towns", f"20261123-154201-{n:06x}") for n in range(14)]
    assert repr(Sweep(runs[:2])) == "Sweep(2 runs of 'towns': 000000, 000001)"
    assert repr(Sweep(runs)).endswith("00000a, 00000b and 2 more)")
    assert repr(Sweep()) == "Sweep()"
    assert Sweep(runs)[:2] == runs[:2]
    assert Sweep(runs)._repr_html_().count("<br>") == 13


def test_run_is_a_picture_in_a_terminal_and_without_anywidget(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "IPython.display.publish_display_data", lambda data, **_: shown.append(data)
    )
    lab = Lab(made.store)
    run, running = made.ended({"lr": 0.1}, {"f1": 0.5}), made.running(params={"lr": 0.2})
    watch._display_live(run)
    watch._display_live(Sweep([run, running]))
    monkeypatch.setattr(watch, "_is_in_kernel", lambda: True)
    monkeypatch.setitem(sys.modules, "rvlab.viewer.watch", None)
    watch._display_live(run)
    watch._display_live(Run("/another/store", "towns", run.id))
    terminal, sweep, without, unknown = shown
    assert "f1 0.500" in terminal["text/plain"]
    assert "lr = 0.2" in sweep["text/plain"]
    assert "running    lr = 0.2  train" in sweep["text/plain"]
    for one in (terminal, without):
        assert "0.500" in one["text/html"]
        assert "<button" not in one["text/html"]
    assert "pip install &#x27;rvlab[local]&#x27;" in without["text/html"]
    assert unknown["text/plain"].startswith("Run(store='/another/store'")
    assert lab.store.uri == made.store.uri
