"""Record `lab.watch` in JupyterLab as the animated picture of the README.

    python -m tools.record_watch docs/images/watch.gif

It trains four runs of ``synthetic_town`` in a folder of its own, in about a minute, and needs
Chromium and the extra ``dev``.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image

from tests.browser import open_chromium, serve_jupyterlab

CELLS = (
    """import os, rvlab
os.environ["RVLAB_HOME"] = {home!r}
lab = rvlab.Lab({store!r}, rvlab.LocalEngine(max_parallel=2))""",
    """runs = lab.sweep("synthetic_town", rvlab.grid(lr=[1e-3, 1e-2], width=[4, 8]),
                 experiment="towns", epochs=12)
lab.watch(runs)""",
)
WIDTH_PX, SECONDS, FRAMES = 860, 1.0, 36
FRAME_MS, LAST_FRAME_MS = 350, 4000
MAX_BYTES = 2_000_000


def record(folder: Path) -> list[Image.Image]:
    """Run the cells and return one picture of the live view per second."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("Chromium is not installed: apt install chromium.")
    cells = [cell.format(home=str(folder / "home"), store=str(folder / "store")) for cell in CELLS]
    frames = []
    with (
        serve_jupyterlab(folder) as server,
        open_chromium(chromium, folder / "profile") as context,
    ):
        page = context.new_page()
        page.set_viewport_size({"width": WIDTH_PX + 420, "height": 1400})
        page.goto(server.notebook("watch", *cells))
        page.wait_for_function("window.jupyterapp?.shell?.currentWidget?.sessionContext?.isReady")
        page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
        page.wait_for_selector(".rvlab-watch polyline")
        shown = page.locator(".jp-Cell").nth(1)
        while not page.locator(".rvlab-watch style").count():  # until the static picture
            frames.append(_screenshot(shown))
            time.sleep(SECONDS)
        frames.append(_screenshot(shown))
    return frames


def _screenshot(element: Any) -> Image.Image:
    return Image.open(io.BytesIO(element.screenshot())).convert("RGB")


def save(frames: list[Image.Image], path: Path) -> int:
    """Write evenly spaced frames as an animation that repeats; return its size in bytes."""
    last = len(frames) - 1
    chosen = [frames[round(i * last / (FRAMES - 1))] for i in range(min(FRAMES, len(frames)))]
    width, height = (max(f.size[i] for f in chosen) for i in (0, 1))
    palette = chosen[-1].quantize(128, dither=Image.Dither.NONE)
    pages = []
    for frame in chosen:
        page = Image.new("RGB", (width, height), "white")
        page.paste(frame)
        pages.append(page.quantize(palette=palette, dither=Image.Dither.NONE))
    durations = [FRAME_MS] * (len(pages) - 1) + [LAST_FRAME_MS]
    pages[0].save(
        path, save_all=True, append_images=pages[1:], duration=durations, loop=0, optimize=True
    )
    return path.stat().st_size


def main() -> int:
    """Record the picture; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="the GIF file to write")
    out: Path = parser.parse_args().out.resolve()
    with tempfile.TemporaryDirectory(prefix="rvlab-record-") as folder:
        size = save(record(Path(folder)), out)
    print(f"{out}: {size / 1e6:.2f} MB")
    return 0 if size <= MAX_BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
