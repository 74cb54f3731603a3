"""What the cells of a row have in common, asked for by many threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event

from rvlab import plot
from rvlab.plot._grid import colorize
from rvlab.plot._grid.options import GridRow
from rvlab.raster import Window
from rvlab.raster.run_source import RunSource

WINDOW = Window(0, 0, 8, 8)


class Header:
    """Labels whose image's header is there at once, or when it is said to be."""

    def __init__(self, asked: Event | None = None, there: Event | None = None) -> None:
        self.asked, self.there = asked, there

    def clip(self, window: Window) -> Window:
        if self.asked and self.there:
            self.asked.set()
            assert self.there.wait()
        return window


def test_a_slow_image_keeps_no_other_scene_waiting() -> None:
    asked, there = Event(), Event()
    slow = GridRow("slow", WINDOW, RunSource("r", "u"), Header(asked, there))
    quick = GridRow("quick", WINDOW, RunSource("r", "u"), Header())
    with ThreadPoolExecutor(2) as pool:
        waits = pool.submit(lambda: slow.clipped_window)
        assert asked.wait()
        try:
            assert pool.submit(lambda: quick.clipped_window).result() == WINDOW
            assert not waits.done()
        finally:
            there.set()
        assert waits.result() == WINDOW


def test_the_grey_image_of_a_row_is_made_once_for_all_of_its_runs(experiment, monkeypatch) -> None:
    made, plain = [], colorize.dim_image
    monkeypatch.setattr(
        colorize, "dim_image", lambda image: made.append(image.shape) or plain(image)
    )
    runs = experiment.runs
    plot.predictions(runs, [("val-0", 0, 0, 50, 40), ("val-1", 0, 0, 30, 20)], show="errors")
    assert len(runs) == 3
    assert sorted(made) == [(20, 30, 3), (40, 50, 3)]
