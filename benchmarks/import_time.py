"""Benchmark: the time of ``import rvlab``, compared with a Python process that imports nothing.

Both are complete processes, alternating, with their files in the page cache. For information, the
times of ``rvlab.Lab``, the name that most users access first, and of ``import pandas``.
Goal: ``import rvlab`` takes at most 0.1 s more than nothing.

    python benchmarks/import_time.py [--repeats 5]
"""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

import fresh

LINES = {
    "nothing": "",
    "import rvlab": "import rvlab",
    "rvlab.Lab": "import rvlab; rvlab.Lab",
    "import pandas": "import pandas",
}


def main() -> None:
    """Measure and print the results."""
    options = fresh.arguments(__doc__, [])
    found: dict[str, list[float]] = {name: [] for name in LINES}
    for turn in range(options.repeats + 1):
        for name, line in LINES.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", line], check=True)
            if turn:  # the first turn fills the page cache
                found[name].append(time.perf_counter() - start)
    for name, times in found.items():
        fresh.seconds(name, times)
    more = median(found["import rvlab"]) - median(found["nothing"])
    fresh.ratio("import rvlab, seconds more than nothing", more, "<= 0.1")


if __name__ == "__main__":
    main()
