"""The live view of runs in a notebook: a widget while they run, a static picture afterwards."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping
from typing import Any

import anywidget
import traitlets

from rvlab.viewer.run_monitor import RunMonitor
from rvlab.viewer.widget import STATIC_FOLDER

_open: dict[frozenset[str], Watch] = {}


class WatchWidget(anywidget.AnyWidget):
    """The page's half of a live view; the kernel renders its sections.

    Args:
        monitor: The monitor of the runs.
    """

    _esm = STATIC_FOLDER / "watch.js"
    _css = STATIC_FOLDER / "watch.css"
    sections: traitlets.List[list[str]] = traitlets.List().tag(sync=True)

    def __init__(self, monitor: RunMonitor) -> None:
        self._monitor = monitor
        super().__init__(sections=[list(one) for one in monitor.sections(live=True)])
        self.on_msg(self._on_message)

    def _on_message(self, _: Any, content: Any, __: Any) -> None:
        """Handle a click on a button of the page; ignore a message of another kind."""
        kind = content.get("kind") if isinstance(content, Mapping) else None
        run = content.get("run") if isinstance(content, Mapping) else None
        if kind == "log" and isinstance(run, str):
            self._monitor.toggle_log(run)
            self.show()
        elif kind == "cancel_all" or (kind == "cancel" and isinstance(run, str)):
            chosen = run if kind == "cancel" else None
            threading.Thread(target=self._monitor.cancel, args=(chosen,), daemon=True).start()

    def show(self) -> None:
        """Send the sections to the page, if they have changed."""
        self.sections = [list(one) for one in self._monitor.sections(live=True)]


class Watch:
    """A live view of runs, shown by the last line of a cell.

    The kernel stays free. When all runs have ended, the display becomes static HTML, which a saved
    notebook retains. A second view of the same runs ends the first.

    Args:
        monitor: The monitor of the runs.
    """

    def __init__(self, monitor: RunMonitor) -> None:
        self._monitor = monitor
        self._display_id: str | None = None
        self._widget: WatchWidget | None = None
        self._runs = frozenset(one.run.uri for one in monitor.runs)

    def __repr__(self) -> str:
        return self._monitor.text()

    def stop(self) -> None:
        """End the view; the runs continue."""
        self._monitor.stop()

    def join(self) -> None:
        """Wait until all runs have ended, or the view has been stopped."""
        self._monitor.join()

    def html(self) -> str:
        """Return the present state as static HTML, without scripts or buttons."""
        return self._monitor.static_html()

    def _ipython_display_(self) -> None:
        """Show the widget and start reading; called by IPython once per display."""
        self._monitor.read_now()
        if self._display_id is not None or self._monitor.has_ended:
            _display(self._static_bundle())
            return
        earlier = _open.pop(self._runs, None)
        if earlier is not None:
            earlier.stop()
        _open[self._runs] = self
        self._display_id = uuid.uuid4().hex
        self._widget = WatchWidget(self._monitor)
        bundle: Any = self._widget._repr_mimebundle_() or {}
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        _display({**data, **self._static_bundle()}, display_id=self._display_id)
        self._monitor.on_change = self._widget.show
        self._monitor.on_end = self._replace_by_static
        self._monitor.start()

    def _static_bundle(self) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": repr(self)}

    def _replace_by_static(self) -> None:
        """Replace the widget in the page, and in the notebook that will be saved."""
        if self._display_id is not None and self._widget is not None:
            _display(self._static_bundle(), display_id=self._display_id, update=True)
            self._widget.close()
        _open.pop(self._runs, None)


def _display(
    bundle: Mapping[str, Any], *, display_id: str | None = None, update: bool = False
) -> None:
    from IPython.display import publish_display_data

    transient = {"display_id": display_id} if display_id else None
    publish_display_data(dict(bundle), transient=transient, update=update)  # type: ignore[no-untyped-call]
