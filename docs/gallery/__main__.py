"""Run all gallery scripts in one process: ``python docs/gallery --out FOLDER``."""

import argparse
import os
import runpy
from pathlib import Path

import matplotlib as mpl
from PIL import Image

HERE = Path(__file__).resolve().parent


def shrink(picture: Path) -> None:
    """Reduce a picture to 32 values per channel, which halves the file size.

    A palette could merge the colors of classes.
    """
    with Image.open(picture) as image:
        small = image.convert("RGB").point(lambda value: round(value / 255 * 31) * 255 // 31)
    small.save(picture, optimize=True)


parser = argparse.ArgumentParser(prog="python docs/gallery", description=__doc__)
parser.add_argument(
    "--out", type=Path, default=HERE, help="folder for the pictures; default: this folder"
)
out = parser.parse_args().out.resolve()
out.mkdir(parents=True, exist_ok=True)

mpl.use("agg")
mpl.rcParams["savefig.dpi"] = 2 * mpl.rcParams["figure.dpi"]  # sharp on screens of high density
os.chdir(out)
for script in sorted(HERE.glob("[!_]*.py")):
    runpy.run_path(str(script))
    picture = out / f"{script.stem}.png"
    shrink(picture)
    print(f"{script.name}: {picture.stat().st_size / 1000:.0f} kB")
if out == HERE:
    for picture in (HERE.parent / "images").glob("*.png"):
        shrink(picture)
