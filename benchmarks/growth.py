"""Benchmark: whether the time of ``lab.runs()`` grows at most linearly with the number of runs.

1,000, 10,000 and 100,000 ended runs are read from a local folder and from the embedded S3 server
without added latency (100,000 there only with ``--full``). Another process fills the local cache
before. Each fresh process calls twice. The exponent between two sizes is log(time ratio) /
log(size ratio); 1 is linear. Goal: at most 1 between the smallest and the largest size.

    python benchmarks/growth.py --data FOLDER [--full] [--repeats 5]

Creating 100,000 runs takes some minutes; they remain in FOLDER.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import fresh
from fresh import Numbers
from sample_runs import prepare_store

from rvlab.store import Store

SIZES = (1000, 10_000, 100_000)
CALLS = ("first", "second")


def main() -> None:
    """Prepare the data, measure and print the results."""
    options = fresh.arguments(__doc__, WAYS, data=Path, full=False)
    if options.child:
        fresh.answer(WAYS, options.child)
        return
    _measure_sizes("folder", Store(options.data.resolve() / "folder"), SIZES, options)
    with fresh.embedded_store(options.data / "s3") as root:
        _measure_sizes("S3", root, SIZES if options.full else SIZES[:-1], options)


def _measure_sizes(where: str, root: Store, sizes: Sequence[int], options: Any) -> None:
    found: dict[int, list[Numbers]] = {}
    for size in sizes:
        uri = prepare_store(root, "runs", size)
        with fresh.folder(options.data) as cache:
            places = fresh.environ(root, uri, cache)
            fresh.child("ours", places)
            found[size] = [fresh.child("ours", places) for _ in range(options.repeats)]
        for call in CALLS:
            what = f"{where}, {size:7,} runs, {call} call in a process"
            fresh.seconds(what, [one[call] for one in found[size]])
    for call in CALLS:
        for small, large in pairwise(sizes):
            exponent = _exponent(found, small, large, call)
            print(f"{where}, {small:,} to {large:,}, {call} call: exponent {exponent:.2f}")
        what = f"{where}, {sizes[0]:,} to {sizes[-1]:,}, {call} call: exponent"
        fresh.ratio(what, _exponent(found, sizes[0], sizes[-1], call), "<= 1")


def _exponent(found: dict[int, list[Numbers]], small: int, large: int, call: str) -> float:
    times = fresh.median(found[large], call) / fresh.median(found[small], call)
    return math.log(times) / math.log(large / small)


def _ours() -> Numbers:
    import rvlab

    fresh.libraries()
    lab, found = rvlab.Lab(), Numbers()
    for call in CALLS:
        start = time.perf_counter()
        found["rows"] = len(lab.runs())
        found[call] = time.perf_counter() - start
    return found


WAYS = {"ours": _ours}

if __name__ == "__main__":
    main()
