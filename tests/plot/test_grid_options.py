"""Concurrent access to the data that all cells of a row share."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event

from rvlab import plot
from rvlab.plot._grid import colorize
from rvlab.plot._grid.options import GridRow
from rvlab.raster import Window
from rvlab.raster.scene import RunSource

WINDOW = Window(0, 0, 8, 8)


class Header:
    """Labels whose image header is available at once, or when an event is set."""

    def __init__(self, requested: Event | None = None, available: Event | None = None) -> None:
        self.requested, self.available = requested, available

    def clip(self, window: Window) -> Window:
        if self.requested and self.available:
            self.requested.set()
            assert self.available.wait()
        return window


def test_slow_image_header_does_not_block_other_scenes() -> None:
    requested, available = Event(), Event()
    slow = GridRow("slow", WINDOW, RunSource("r", "u"), Header(requested, available))
    quick = GridRow("quick", WINDOW, RunSource("r", "u"), Header())
    with ThreadPoolExecutor(2) as pool:
        waits = pool.submit(lambda: slow.clipped_window)
        assert requested.wait()
        try:
            assert pool.submit(lambda: quick.clipped_window).result() == WINDOW
            assert not waits.done()
        finally:
            available.set()
        assert waits.result() == WINDOW


def test_grey_image_of_a_row_is_computed_once_for_all_runs(experiment, monkeypatch) -> None:
    made, plain = [], colorize.fade_to_grey
    monkeypatch.setattr(
        colorize, "fade_to_grey", lambda image: made.append(image.shape) or plain(image)
    )
    runs = experiment.runs
    plot.predictions(runs, [("val-0", 0, 0, 50, 40), ("val-1", 0, 0, 30, 20)], show="errors")
    assert len(runs) == 3
    assert sorted(made) == [(20, 30, 3), (40, 50, 3)]
