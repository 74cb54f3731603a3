"""Whether the time of ``lab.runs()`` grows with the runs, or faster.

1,000, 10,000 and, with ``--full``, 100,000 ended runs on the embedded S3, no wait added, the local
cache filled by another process before. Each fresh process calls twice. Between two sizes the
exponent is log(time ratio) / log(size ratio): 1 is linear. Goal: at most 1.

    python benchmarks/growth.py --data FOLDER [--full] [--repeats 5]

Making 100,000 runs takes some minutes; they stay in FOLDER.
"""

from __future__ import annotations

import math
import time
from itertools import pairwise
from pathlib import Path

import fresh
from fresh import Numbers
from made_runs import prepared

SIZES = (1000, 10_000, 100_000)
CALLS = ("first", "second")


def main() -> None:
    """Prepare, measure, print."""
    asked = fresh.arguments(__doc__, WAYS, data=Path, full=False)
    if asked.child:
        fresh.answer(WAYS, asked.child)
        return
    sizes = SIZES if asked.full else SIZES[:-1]
    found: dict[int, list[Numbers]] = {}
    with fresh.embedded(asked.data / "s3") as root:
        for size in sizes:
            uri = prepared(root, "runs", size)
            with fresh.folder(asked.data) as cache:
                places = fresh.environ(root, uri, cache)
                fresh.child("ours", places)
                found[size] = [fresh.child("ours", places) for _ in range(asked.repeats)]
            for call in CALLS:
                what = f"{size:7,} runs, {call} call in a process"
                fresh.seconds(what, [one[call] for one in found[size]])
    for small, large in pairwise(sizes):
        for call in CALLS:
            times = fresh.median(found[large], call) / fresh.median(found[small], call)
            exponent = math.log(times) / math.log(large / small)
            fresh.ratio(f"{small:,} to {large:,}, {call} call: exponent", exponent, "<= 1")


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
