"""Execute the notebooks top to bottom and save their outputs: ``make demo``.

Writes to ``demo/`` the executed notebooks, their figures as PNG files, the queue of runs and the
data of an embedded S3 server with the records and outputs of the runs.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

HERE = Path(__file__).parent


def execute(
    notebook: Path, out: Path, *, parameters: Mapping[str, Any] | None = None, say: Any = print
) -> Path:
    """Execute one notebook.

    Args:
        notebook: The notebook, without outputs.
        out: Folder of the executed notebook and, in ``figures/``, its pictures.
        parameters: Values that replace those of the cells tagged ``parameters``.
        say: A function that is called with one line of progress at a time.

    Returns:
        The path of the executed notebook.
    """
    book = nbformat.read(notebook, as_version=4)
    for cell in book.cells:
        if "parameters" in cell.metadata.get("tags", []) and parameters:
            lines = [f"{name} = {value!r}" for name, value in parameters.items()]
            cell.source = "\n".join([cell.source, *lines])
    total = sum(cell.cell_type == "code" for cell in book.cells)
    done = 0

    def started(cell: Any, cell_index: int) -> None:
        nonlocal done
        if cell.cell_type == "code":
            done += 1
            say(f"{notebook.stem}, cell {done} of {total}: {cell.source.splitlines()[0][:70]}")

    client = NotebookClient(
        book,
        extra_arguments=[
            "--log-level=40",  # suppress a warning per kernel about TCP
            "--InlineBackend.figure_format=retina",  # sharp on screens of high density
        ],
        timeout=3600,
        resources={"metadata": {"path": str(notebook.parent)}},
        on_cell_start=started,
        kernel_name="python3",
    )
    path = out / "notebooks" / notebook.name
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        client.execute()
    finally:
        nbformat.write(book, path)
        _figures(book, out / "figures", notebook.stem)
    return path


def _figures(book: Any, folder: Path, stem: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    number = 0
    for cell in book.cells:
        for output in cell.get("outputs", []):
            picture = output.get("data", {}).get("image/png")
            if picture:
                number += 1
                (folder / f"{stem}-{number}.png").write_bytes(base64.b64decode(picture))


class Clock:
    """Progress output with the time since the start and, at intervals, the states of the runs."""

    def __init__(self, every_s: float = 15.0) -> None:
        self._start = time.monotonic()
        self._every_s = every_s
        self._stop = threading.Event()

    def say(self, text: str) -> None:
        """Print a line with the time since the start, in minutes and seconds."""
        minutes, seconds = divmod(int(time.monotonic() - self._start), 60)
        print(f"[{minutes:2d}:{seconds:02d}] {text}", flush=True)

    def watch(self, lab: Any) -> None:
        """Print changes of the states of a lab's runs until `stop` is called."""
        printed = ""
        while not self._stop.wait(self._every_s):
            table = lab.runs()
            if table.empty:
                continue
            counts = ", ".join(f"{n} {s}" for s, n in table["state"].value_counts().items())
            steps = table.loc[table["state"] == "running", ["name", "step"]].dropna()
            now = "; ".join(f"{row['name']}: {row['step']}" for _, row in steps.iterrows())
            text = f"          runs: {counts}" + (f" ({now})" if now else "")
            if text != printed:
                self.say(text)
            printed = text

    def stop(self) -> None:
        """Stop `watch`."""
        self._stop.set()


def main(argv: Sequence[str] | None = None) -> int:
    """Execute the notebooks in order, then print the table of runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE.parent / "demo", help="the output folder")
    parser.add_argument("--parameters", type=json.loads, default={}, help="JSON, for smaller runs")
    parser.add_argument("notebooks", type=Path, nargs="*", default=sorted(HERE.glob("*.ipynb")))
    args = parser.parse_args(argv)
    out: Path = args.out.resolve()
    os.environ.setdefault("RVLAB_STORE", f"embedded:{out / 's3'}")
    os.environ.setdefault("RVLAB_HOME", str(out / "home"))
    os.environ.pop("MPLBACKEND", None)  # it would prevent figures in the cells
    clock = Clock()
    clock.say("starting the embedded S3 server")
    import rvlab

    lab = rvlab.Lab()
    clock.say(f"{lab} stores its data in {os.environ['RVLAB_STORE'].partition(':')[2]}")
    watcher = threading.Thread(target=clock.watch, args=(lab,), daemon=True)
    watcher.start()
    paths = []
    try:
        for notebook in args.notebooks:
            paths.append(execute(notebook, out, parameters=args.parameters, say=clock.say))
    except CellExecutionError as exc:
        clock.say(f"{notebook.name} failed:\n{exc}")
        return 1
    finally:
        clock.stop()
        watcher.join()
    table = lab.runs().sort_values("metrics.f1", ascending=False)
    shown = ["name", "experiment", "state", "duration"]
    shown += ["metrics.f1", "metrics.mean_iou", "metrics.accuracy"]
    table["duration"] = table["duration"].dt.round("s").astype(str).str.removeprefix("0 days ")
    clock.say("All runs, the best first:\n")
    print(table[shown].round(3).to_string())
    print("\nExecuted notebooks, to open with `make lab`:")
    print("\n".join(f"  {path}" for path in paths))
    print(f"Figures:\n  {out / 'figures'}")
    print("The S3 server is still running, so that they can be read. To stop it:")
    print(f"  {sys.executable} -m rvlab --store {os.environ['RVLAB_STORE']} down")
    failed = table[table["state"] != "succeeded"]
    return 1 if len(failed) else 0


if __name__ == "__main__":
    sys.exit(main())
