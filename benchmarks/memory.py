"""Benchmark: the peak memory of ``lab.runs()`` for 10,000 ended runs with some 70 columns.

A fresh process reads another store with 600 runs, so that all code is loaded, opens the lab, and
measures its memory; then it calls ``lab.runs()`` once. The result is the increase of peak memory
(``VmHWM``, reset before the call) and the size of the table, ``memory_usage(deep=True).sum()``.
``cold`` has an empty local cache; ``warm`` has a cache that another process filled. The store is on
the embedded S3 server, without added latency. Goal for both: at most 2 x the table.

    python benchmarks/memory.py --data FOLDER [--runs 10000] [--repeats 5]
"""

from __future__ import annotations

import gc
import os
from pathlib import Path

import fresh
from fresh import Numbers
from sample_runs import prepare_store

from rvlab.cache.background import DeferredWrites


def main() -> None:
    """Prepare the data, measure and print the results."""
    options = fresh.arguments(__doc__, WAYS, data=Path, runs=10_000)
    if options.child:
        fresh.answer(WAYS, options.child)
        return
    found: dict[str, list[Numbers]] = {"cold": [], "warm": []}
    with fresh.embedded_store(options.data / "s3") as root, fresh.folder(options.data) as filled:
        uri = prepare_store(root, "runs", options.runs)
        more = {"FIRST": prepare_store(root, "first", 600)}
        for _ in range(2):
            fresh.child("ours", {**fresh.environ(root, uri, filled), **more})
        for _ in range(options.repeats):
            found["warm"].append(fresh.child("ours", {**fresh.environ(root, uri, filled), **more}))
            with fresh.folder(options.data) as empty:
                places = {**fresh.environ(root, uri, empty), **more}
                found["cold"].append(fresh.child("ours", places))
    one = found["warm"][0]
    print(f"{one['rows']:.0f} runs, {one['columns']:.0f} columns, MiB (medians)")
    print(f"{'':6}{'before':>10}{'peak':>10}{'above':>10}{'table':>10}{'held after':>12}")
    for way, results in found.items():
        numbers = (fresh.median(results, n) for n in ("before", "peak", "above", "table", "after"))
        before, peak, above, table, after = numbers
        print(f"{way:6}{before:10.1f}{peak:10.1f}{above:10.1f}{table:10.1f}{after:12.1f}")
    for way, results in found.items():
        ratio = fresh.median(results, "above") / fresh.median(results, "table")
        fresh.ratio(f"{way}: increase of peak memory / table", ratio, "<= 2")


def _ours() -> Numbers:
    import rvlab

    fresh.libraries()
    rvlab.Lab(os.environ["FIRST"]).runs()
    DeferredWrites.flush()
    lab = rvlab.Lab()
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak to the current memory
    before = fresh.held_mb()
    table = lab.runs()
    DeferredWrites.flush()  # includes the background writes while the table exists
    peak = fresh.peak_mb()
    gc.collect()
    return {
        "before": before,
        "peak": peak,
        "above": peak - before,
        "after": fresh.held_mb() - before,
        "table": float(table.memory_usage(deep=True).sum()) / 2**20,
        "rows": len(table),
        "columns": len(table.columns),
    }


WAYS = {"ours": _ours}

if __name__ == "__main__":
    main()
