"""The part of a lab that looks: windows worth it, the viewer, the report of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rvlab.errors import NotFound, SpecError
from rvlab.frame.select import Picked, one_present, picked
from rvlab.lab._tables import Tables

if TYPE_CHECKING:
    import pandas as pd

    from rvlab.viewer.widget import Viewer


class Looks(Tables):
    """Looks at predictions; see `rvlab.Lab`."""

    def windows(
        self,
        runs: Picked = None,
        by: str = "error",
        *,
        n: int = 12,
        size: int | None = None,
        classes: str | Sequence[str] | None = None,
        group: str | None = None,
        scenes: str | Sequence[str] | None = None,
        per_scene: int | None = None,
        seed: int = 0,
    ) -> pd.DataFrame:
        """Windows worth a look, for ``plot.predictions(runs, windows)``; no raster is read.

        Args:
            runs: Which runs.
            by: ``error``, ``disagreement``, ``difference``, ``confident_error``, ``class`` or
                ``random``: see `rvlab.frame.windows.windows`.
            n: Rows at most.
            size: Side of the windows in pixels; None is 512, or less in small scenes.
            classes: Names of the classes that the score is about; None is all.
            group: ``validation`` or ``test``; None is validation, or test without it.
            scenes: Ids of scenes; None is all of the group.
            per_scene: Rows of one scene at most.
            seed: Of ``random``.

        Returns:
            ``scene col row width height score group by run pixels``, a row per window.

        Raises:
            NotFound: If there is no such `by`, class, group or scene, or no run has counts.
            SpecError: If `by` asks for other runs or arguments, or `size` does not fit.
        """
        from rvlab.frame.windows import windows

        return windows(
            self.store,
            picked(self.store, runs),
            by,
            n=n,
            size=size,
            classes=classes,
            group=group,
            scenes=scenes,
            per_scene=per_scene,
            seed=seed,
        )

    def viewer(
        self,
        runs: Picked = None,
        *,
        group: str = "validation",
        scene: str | None = None,
        windows: pd.DataFrame | None = None,
        label: str | None = None,
        height_px: int = 520,
    ) -> Viewer:
        """A map in JupyterLab: image, truth, predictions and errors, swiped over one another.

        Args:
            runs: Which runs.
            group: ``train``, ``validation`` or ``test``: whose scenes there are to choose from.
            scene: The scene to begin with; None is the first.
            windows: Where its button *next worst* goes, as `windows` returns them; None asks for
                those where the runs are wrong most.
            label: The column that names the runs; None takes the parameters in which they differ.
            height_px: Of the map.

        Returns:
            The widget; see `rvlab.viewer.viewer`.

        Raises:
            MissingExtra: If anywidget is not installed.
            NotFound: If there is no such run, scene or group.
            SpecError: If a window or the height is malformed.
        """
        from rvlab.viewer import viewer

        table = self.runs(runs)
        if windows is None and len(table):
            windows = self._worst(table, group)
        return viewer(
            table, group=group, scene=scene, windows=windows, label=label, height_px=height_px
        )

    def _worst(self, table: pd.DataFrame, group: str) -> pd.DataFrame | None:
        """Where a viewer jumps to; without counts there is nowhere, and its button says so."""
        try:
            return self.windows(table, group=group, n=50)
        except NotFound:
            return None

    def report(self, run: Picked, path: str | Path) -> Path:
        """Write a run as one HTML file that needs nothing else: numbers, predictions, curves.

        Args:
            run: The run, its id, or a row of a table.
            path: The file.

        Returns:
            The file.

        Raises:
            NotFound: If there is no such run.
            SpecError: If the file cannot be written.
        """
        from rvlab.report.page import page

        text = page(one_present(self.store, run, "report"))
        file = Path(path).expanduser()
        try:
            file.write_text(text, encoding="utf-8")
        except OSError as exc:
            raise SpecError(f"The report {file} cannot be written: {exc.strerror}.") from exc
        return file
