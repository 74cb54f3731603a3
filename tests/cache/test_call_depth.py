"""Number of modules and depth of calls of the two largest operations; counts, not seconds."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import rvlab
from rvlab import Lab, plot
from rvlab.cache.background import DeferredWrites
from rvlab.store import Store
from tests.frame.samples import Made
from tests.raster.samples import Experiment

PACKAGE = f"{Path(rvlab.__file__).parent}/"


def measure(call: Callable[[], Any]) -> tuple[set[str], list[str]]:
    """Return the modules of rvlab in which functions were called, and the deepest stack of them.

    All threads are measured, each with its own stack. Comprehensions do not count as calls.
    """
    modules: set[str] = set()
    deepest: list[str] = []

    def watch(frame: FrameType, event: str, _: object) -> None:
        nonlocal deepest
        if event != "call" or not frame.f_code.co_filename.startswith(PACKAGE):
            return
        modules.add(frame.f_code.co_filename.removeprefix(PACKAGE))
        stack = []
        above: FrameType | None = frame
        while above is not None:
            code = above.f_code
            if code.co_filename.startswith(PACKAGE) and not code.co_name.endswith(
                ("comp>", "xpr>")
            ):
                stack.append(f"{code.co_filename.removeprefix(PACKAGE)}:{code.co_name}")
            above = above.f_back
        if len(stack) > len(deepest):
            deepest = stack[::-1]

    threading.setprofile(watch)
    sys.setprofile(watch)
    try:
        call()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return modules, deepest


@pytest.fixture
def lab(store: Store, made: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Lab:
    """Return a lab on a folder with three runs, and an empty cache."""
    monkeypatch.setenv("RVLAB_CACHE", str(tmp_path / "cache"))
    for n in range(3):
        made.ended({"lr": n / 7, "width": n}, {"f1": n / 3})
    return Lab(store.uri)


def test_cached_table_of_runs_needs_few_modules_and_nested_calls(lab: Lab) -> None:
    lab.runs()
    DeferredWrites.flush()
    lab.runs()  # reads the cache files
    DeferredWrites.flush()
    modules, deepest = measure(lab.runs)
    # The cache has 5, the store 5: keys, listing, retries, storage, folders of this machine.
    assert len(modules) <= 14, "\n".join(sorted(modules))
    assert len(deepest) <= 11, deepest


def test_first_table_of_runs_has_no_deeper_calls(lab: Lab) -> None:
    _, deepest = measure(lab.runs)
    assert len(deepest) <= 11, deepest


def test_predictions_need_few_modules_and_nested_calls(tmp_path: Path) -> None:
    made = Experiment(tmp_path, scenes=2)
    for wrong in (0.1, 0.2, 0.3):
        made.add(wrong, lr=wrong)
    plot.predictions(made.runs)  # imports
    modules, deepest = measure(lambda: plot.predictions(made.runs))
    # The grid has 7, figures and tables 3, imagery 7, the store 5, records and metrics 2.
    assert len(modules) <= 24, "\n".join(sorted(modules))
    assert len(deepest) <= 12, "\n".join(deepest)
