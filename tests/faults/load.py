"""Readers and writers of one store, as child processes with several threads each.

``python -m tests.faults.load ROLE STORE LEDGER SECONDS THREADS SEED`` prints one JSON line with
counts of actions and faults. Writers append a line to the ledger once a run is acknowledged. A
reader notes the end of the ledger, reads a table, and compares: all runs that were acknowledged
before must be in the table, with their values.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rvlab import frame
from rvlab.cache import evict, row_cache
from rvlab.cache.background import DeferredWrites
from rvlab.model import Run, new_run_id
from rvlab.store import S3Access, Store
from rvlab.store.annotation import write_annotations
from rvlab.store.delete import delete_runs
from tests.faults import cache_damage as damage
from tests.frame.samples import Made

EXPERIMENTS = ("towns", "fields")


def note(ledger: Path, *words: object) -> None:
    """Append a line in one write."""
    with ledger.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write((" ".join(map(str, words)) + "\n").encode())


def parse_ledger(ledger: Path) -> tuple[dict[str, int], set[str], set[str]]:
    """Return the numbers of ended runs by id, the runs with a note, and those being deleted."""
    ended: dict[str, int] = {}
    noted: set[str] = set()
    going: set[str] = set()
    for line in ledger.read_text().splitlines():
        word, run, number = line.split()
        if word == "ended":
            ended[run] = int(number)
        else:
            (noted if word == "noted" else going).add(run)
    return ended, noted, going


def write(store: Store, ledger: Path, until: float, rng: random.Random) -> Counter[str]:
    """Write runs as the worker does, annotate some, delete some."""
    made, done, mine = Made(store), Counter[str](), list[Run]()
    while time.time() < until:
        number, experiment = rng.randrange(10**6), rng.choice(EXPERIMENTS)
        created = datetime.now(UTC)
        run = made.queued(
            {"n": number},
            experiment=experiment,
            run=new_run_id(created),
            created=created.isoformat(timespec="milliseconds"),
        )
        time.sleep(rng.random() * 0.02)
        made.table(run, "evals", [{**damage.EVAL, "value": number / 10**6}])
        made.end(run, {"f1": number / 10**6})
        note(ledger, "ended", run.id, number)
        done["runs"] += 1
        mine.append(run)
        if rng.random() < 0.2:
            write_annotations(store, [run], "me@here", note=f"n{number}")
            note(ledger, "noted", run.id, number)
            done["notes"] += 1
        if rng.random() < 0.1:
            old = mine.pop(rng.randrange(len(mine)))
            note(ledger, "delete", old.id, 0)
            delete_runs(store, [old])
            evict(store, [old])
            note(ledger, "deleted", old.id, 0)
            done["deletions"] += 1
    return done


def read(store: Store, ledger: Path, until: float, rng: random.Random) -> Counter[str]:
    """Read tables and compare them with the ledger."""
    done = Counter[str]()
    while time.time() < until:
        before, noted, _ = parse_ledger(ledger)
        gone = {
            line.split()[1] for line in ledger.read_text().splitlines() if line[:8] == "deleted "
        }
        table = frame.runs_table(store, None)
        evals = (
            frame.evals_table(store, frame.select_listings(store, None))
            if rng.random() < 0.3
            else None
        )
        after, _, going = parse_ledger(ledger)
        done["tables"] += 1 + (evals is not None)
        if table.index.has_duplicates:
            done["fault: a run is there twice"] += 1
        rows: dict[Any, dict[Any, Any]] = table.to_dict("index")
        done["fault: a deleted run is there"] += len(gone & set(rows))
        for run, number in before.items():
            if run in going:
                continue
            row = rows.get(run, {})
            if not row:
                done["fault: a run is missing"] += 1
            elif (row["state"], row["params.n"]) != ("succeeded", number):
                done["fault: a run has other values"] += 1
            elif run in noted and row["note"] != f"n{number}":
                done["fault: a note is missing"] += 1
        for run, row in rows.items():
            if row["state"] == "succeeded" and row["metrics.f1"] != row["params.n"] / 10**6:
                done["fault: a metric of another run"] += 1
            if row["state"] == "broken" and run not in going:
                done["fault: a run is broken"] += 1
        if evals is not None:
            values = dict(zip(evals["run"], evals["value"], strict=True))
            for run, number in {**after, **before}.items():
                if run not in going and run in before and values.get(run) != number / 10**6:
                    done["fault: an evaluation is missing or another"] += 1
    return done


ROLES: dict[str, Callable[..., Counter[str]]] = {"read": read, "write": write}


def main(role: str, uri: str, ledger: str, seconds: str, threads: str, seed: str) -> Counter[str]:
    """Work in several threads until the time is over."""
    row_cache.FEW_KEYS, row_cache.MIN_SHARED_KEYS = 8, 20  # so that blocks are merged often
    store, total = Store(uri, S3Access.from_environ()), Counter[str]()
    until = time.time() + float(seconds)
    with ThreadPoolExecutor(int(threads)) as pool:
        jobs = [
            pool.submit(ROLES[role], store, Path(ledger), until, random.Random(f"{seed}-{n}"))
            for n in range(int(threads))
        ]
        for job in jobs:
            total += job.result()
    DeferredWrites.flush()
    return total


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])), os.linesep)
