"""Run all gallery scripts in one process: ``python docs/gallery --out FOLDER``."""

import argparse
import os
import runpy
from pathlib import Path

import matplotlib as mpl
from PIL import Image

HERE = Path(__file__).resolve().parent

parser = argparse.ArgumentParser(prog="python docs/gallery", description=__doc__)
parser.add_argument(
    "--out", type=Path, default=HERE, help="folder for the pictures; default: this folder"
)
out = parser.parse_args().out.resolve()
out.mkdir(parents=True, exist_ok=True)

mpl.use("agg")
os.chdir(out)
for script in sorted(HERE.glob("[!_]*.py")):
    runpy.run_path(str(script))
    picture = out / f"{script.stem}.png"
    with Image.open(picture) as image:
        # 32 values per channel halve the file size; a palette could merge the colors of classes.
        small = image.convert("RGB").point(lambda value: round(value / 255 * 31) * 255 // 31)
    small.save(picture, optimize=True)
    print(f"{script.name}: {picture.stat().st_size / 1000:.0f} kB")
