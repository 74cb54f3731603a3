"""Benchmark: cancel 1,000 queued runs of the local engine, on the embedded S3 server.

* ``ours``: one ``lab.cancel(experiment)``;
* ``bare``: the minimum of necessary operations, with plain obstore and the standard library at the
  same concurrency: read each run's spec, list its folder, write its end record if it has none,
  delete the key of the active run, and remove 1,000 files of the job queue.

Goals: ours at most 3 x bare; and at most 5 s.

    python benchmarks/cancel.py --data FOLDER [--runs 1000] [--repeats 5]

Each repeat creates new runs for both, and removes them at the end.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import bare
import fresh
from fresh import Numbers

if TYPE_CHECKING:
    from rvlab import Lab
    from rvlab.model import Run

EXPERIMENT = "cancelled"
SOURCE = "def get_config(runner, root_uri: str, number: int = 0): ...\n"


def main() -> None:
    """Measure and print the results."""
    options = fresh.arguments(__doc__, WAYS, data=Path, runs=1000)
    if options.child:
        fresh.answer(WAYS, options.child)
        return
    found: dict[str, list[Numbers]] = {"ours": [], "bare": []}
    with fresh.embedded_store(options.data / "s3") as root:
        for repeat in range(options.repeats):
            for way, results in found.items():
                with fresh.folder(options.data) as cache:
                    uri = f"{root.uri}/cancel-{way}-{repeat}-{os.getpid()}"
                    places = {**fresh.environ(root, uri, cache), "RUNS": str(options.runs)}
                    results.append(fresh.child(way, places))
    ours, least = ([one["seconds"] for one in found[way]] for way in ("ours", "bare"))
    print(f"{fresh.median(found['ours'], 'cancelled'):.0f} queued runs cancelled")
    fresh.seconds("ours, lab.cancel", ours)
    fresh.seconds("bare requests and removals", least)
    fresh.ratio("ours / bare", median(ours) / median(least), "<= 3")
    fresh.ratio("ours, in seconds", median(ours), "<= 5")


def _queue_runs() -> tuple[Lab, list[Run], list[Path]]:
    """Return a lab, queued runs and their job files; no supervisor is started."""
    import rvlab
    from rvlab.engines.job_queue import Job, JobQueue
    from rvlab.recipes import Recipe
    from rvlab.submission import SubmitOptions, prepare_runs

    lab = rvlab.Lab()
    points = [{"number": number} for number in range(int(os.environ["RUNS"]))]
    runs = prepare_runs(
        lab.store, Recipe("cancel", SOURCE), points, SubmitOptions(EXPERIMENT, "local")
    )
    queue = JobQueue.for_store(lab.store)
    for run in runs:
        queue.add(Job(run.uri, max_parallel=1))
    return lab, runs, [file for file, _ in queue.waiting()]


def _ours() -> Numbers:
    lab, _, _ = _queue_runs()
    start = time.perf_counter()
    lab.cancel(EXPERIMENT)
    seconds = time.perf_counter() - start
    states = lab.runs(EXPERIMENT)["state"]
    lab.delete(EXPERIMENT, confirm=EXPERIMENT)
    return {"seconds": seconds, "cancelled": float((states == "cancelled").sum())}


def _bare() -> Numbers:
    import obstore

    from rvlab.store.concurrency import IN_FLIGHT

    lab, runs, files = _queue_runs()
    end = lab.store.get(runs[0].key("spec.json"))
    prefix = os.environ["RVLAB_STORE"].removeprefix("s3://").partition("/")[2]
    store = bare.bucket()

    def cancel(number: int) -> None:
        run, file = runs[number], files[number]
        bytes(obstore.get(store, f"{prefix}/{run.key('spec.json')}").bytes())
        for _ in obstore.list(store, f"{prefix}/{run.prefix}/"):
            pass
        obstore.put(store, f"{prefix}/{run.end_key}", end, mode="create")
        obstore.delete(store, f"{prefix}/{run.active_key}")
        file.unlink()

    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        list(pool.map(lambda _: bare.trip_s(store), range(IN_FLIGHT)))
        start = time.perf_counter()
        list(pool.map(cancel, range(len(runs))))
        seconds = time.perf_counter() - start
    lab.store.delete(key for key, _ in lab.store.files(EXPERIMENT))
    return {"seconds": seconds}


WAYS: dict[str, Callable[[], Numbers]] = {"ours": _ours, "bare": _bare}

if __name__ == "__main__":
    main()
