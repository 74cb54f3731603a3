"""The most memory that ``lab.runs()`` takes over 10,000 ended runs with some 60 columns.

A fresh process reads another store, of 600 runs, so that all code is loaded, opens the lab, and
notes what it holds; then it calls ``lab.runs()`` once. Measured is the peak (``VmHWM``, set back
before the call) above what it held, and the table's own size, ``memory_usage(deep=True).sum()``:
cold, with an empty local cache, and warm, with one that another process has filled. From the
embedded S3, no wait added. Goal: at most 2 x the table, each.

    python benchmarks/memory.py --data FOLDER [--runs 10000] [--repeats 5]
"""

from __future__ import annotations

import gc
import os
from pathlib import Path

import fresh
from fresh import Numbers
from sample_runs import prepared

from rvlab.cache.background import DeferredWrites


def main() -> None:
    """Prepare, measure, print."""
    asked = fresh.arguments(__doc__, WAYS, data=Path, runs=10_000)
    if asked.child:
        fresh.answer(WAYS, asked.child)
        return
    found: dict[str, list[Numbers]] = {"cold": [], "warm": []}
    with fresh.embedded(asked.data / "s3") as root, fresh.folder(asked.data) as kept:
        uri = prepared(root, "runs", asked.runs)
        more = {"FIRST": prepared(root, "first", 600)}
        for _ in range(2):
            fresh.child("ours", {**fresh.environ(root, uri, kept), **more})
        for _ in range(asked.repeats):
            found["warm"].append(fresh.child("ours", {**fresh.environ(root, uri, kept), **more}))
            with fresh.folder(asked.data) as empty:
                places = {**fresh.environ(root, uri, empty), **more}
                found["cold"].append(fresh.child("ours", places))
    one = found["warm"][0]
    print(f"{one['rows']:.0f} runs, {one['columns']:.0f} columns, MiB (medians)")
    print(f"{'':6}{'before':>10}{'peak':>10}{'above':>10}{'table':>10}{'kept after':>12}")
    for way, results in found.items():
        numbers = (fresh.median(results, n) for n in ("before", "peak", "above", "table", "kept"))
        before, peak, above, table, after = numbers
        print(f"{way:6}{before:10.1f}{peak:10.1f}{above:10.1f}{table:10.1f}{after:12.1f}")
    for way, results in found.items():
        ratio = fresh.median(results, "above") / fresh.median(results, "table")
        fresh.ratio(f"{way}: peak above what was held / table", ratio, "<= 2")


def _ours() -> Numbers:
    import rvlab

    fresh.libraries()
    rvlab.Lab(os.environ["FIRST"]).runs()
    DeferredWrites.flush()
    lab = rvlab.Lab()
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak back to what is held now
    before = fresh.held_mb()
    table = lab.runs()
    DeferredWrites.flush()  # what was read is kept while the table is there
    peak = fresh.peak_mb()
    gc.collect()
    return {
        "before": before,
        "peak": peak,
        "above": peak - before,
        "kept": fresh.held_mb() - before,
        "table": float(table.memory_usage(deep=True).sum()) / 2**20,
        "rows": len(table),
        "columns": len(table.columns),
    }


WAYS = {"ours": _ours}

if __name__ == "__main__":
    main()
