"""Whether the time of ``lab.runs()`` grows with the runs, or faster.

1,000, 10,000 and 100,000 ended runs in a folder of this machine, and on the embedded S3, no wait
added (100,000 there with ``--full`` only), the local cache filled by another process before. Each
fresh process calls twice. Between two sizes the exponent is log(time ratio) / log(size ratio): 1 is
linear. Goal: at most 1 between the smallest and the largest.

    python benchmarks/growth.py --data FOLDER [--full] [--repeats 5]

Making 100,000 runs takes some minutes; they stay in FOLDER.
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
from sample_runs import prepared

from rvlab.store import Store

SIZES = (1000, 10_000, 100_000)
CALLS = ("first", "second")


def main() -> None:
    """Prepare, measure, print."""
    asked = fresh.arguments(__doc__, WAYS, data=Path, full=False)
    if asked.child:
        fresh.answer(WAYS, asked.child)
        return
    _grown("folder", Store(asked.data.resolve() / "folder"), SIZES, asked)
    with fresh.embedded(asked.data / "s3") as root:
        _grown("S3", root, SIZES if asked.full else SIZES[:-1], asked)


def _grown(where: str, root: Store, sizes: Sequence[int], asked: Any) -> None:
    found: dict[int, list[Numbers]] = {}
    for size in sizes:
        uri = prepared(root, "runs", size)
        with fresh.folder(asked.data) as cache:
            places = fresh.environ(root, uri, cache)
            fresh.child("ours", places)
            found[size] = [fresh.child("ours", places) for _ in range(asked.repeats)]
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
