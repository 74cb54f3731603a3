"""Run all scripts beside this file in one process: ``python docs/gallery --out FOLDER``."""

import argparse
import os
import runpy
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from PIL import Image

HERE = Path(__file__).resolve().parent

parser = argparse.ArgumentParser(prog="python docs/gallery", description=__doc__)
parser.add_argument("--out", type=Path, default=HERE, help="where the pictures go; here, if not")
out = parser.parse_args().out.resolve()
out.mkdir(parents=True, exist_ok=True)

mpl.use("agg")
os.chdir(out)
for script in sorted(HERE.glob("[!_]*.py")):
    runpy.run_path(str(script))
    plt.close("all")  # `plot.scatter` draws with pyplot, which would keep its figure
    picture = out / f"{script.stem}.png"
    with Image.open(picture) as image:
        # Half of the bytes: 32 values a channel, and no palette that takes one class for another.
        small = image.convert("RGB").point(lambda value: round(value / 255 * 31) * 255 // 31)
    small.save(picture, optimize=True)
    print(f"{script.name}: {picture.stat().st_size / 1000:.0f} kB")
