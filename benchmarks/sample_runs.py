"""Sample data: many ended runs, written by the code of submission and worker.

Each run has 20 parameters of mixed types, 20 headline metrics, the costs of one step, and the keys
that rvlab's own code writes: ``rvlab.submission.prepare_runs`` at the start,
``rvlab.worker.records.write_end`` at the end, and optionally ``rvlab.worker.results`` and
``rvlab.worker.summarize.write_tables`` for the tables.

To save time, this code writes 1,000 runs at a time to a store in memory, whose keys are then copied
to the store, some dozens concurrently. Therefore git is called once per 1,000 runs, the worker
reads its own records at no cost, and keys that are deleted when a run ends (such as the key of the
active run) are never written. Of Raster Vision's own files there is only ``train/log.csv``. The
record of the step is omitted unless ``--steps`` is given.

    python benchmarks/sample_runs.py --runs 10000 --store STORE [--experiments 3] [--evals]
        [--epochs 1000] [--seed 0]

STORE is a folder, ``s3://bucket/prefix`` with the AWS variables, or ``embedded:FOLDER``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rvlab.model import Run, StepRecord, new_run_id
from rvlab.recipes import Recipe
from rvlab.store import S3Access, Store
from rvlab.store.object_storage import ObstoreStorage
from rvlab.submission import SubmitOptions, prepare_runs

EXPERIMENT = "made"
BATCH, IN_FLIGHT, EVERY_S = 1000, 48, 30
SERIES = ("train_loss", "val_loss", "avg_f1", "avg_precision", "avg_recall")
CLASSES = ("background", "building", "road", "water", "tree")
CLASS_CONFIG = {"names": [*CLASSES, "null"], "null_class": "null"}

SOURCE = """
def get_config(
    runner, root_uri,
    lr: float = 1e-3, weight_decay: float = 1e-4, momentum: float = 0.9, dropout: float = 0.1,
    gamma: float = 0.5, label_smoothing: float = 0.0, ignore_below: float = 0.05,
    epochs: int = 8, batch_size: int = 16, chip_px: int = 256, stride_px: int = 128,
    workers: int = 4, warmup: int = 100,
    backbone: str = "resnet50", optimizer: str = "adamw", schedule: str = "cosine",
    loss: str = "ce", augment: bool = True, pretrained: bool = True, amp: bool = False,
):
    ...
"""
RECIPE = Recipe("made", SOURCE.lstrip())


@dataclass(frozen=True)
class Layout:
    """Keys of an ended run, as the current code writes them.

    Args:
        keys: All keys, with the placeholders ``{experiment}`` and ``{run}``.
        end: The key of the end record.
    """

    keys: tuple[str, ...]
    end: str

    @property
    def digest(self) -> str:
        """Hash of the keys, so that runs in another layout are not reused."""
        return hashlib.sha256("\n".join(self.keys).encode()).hexdigest()[:8]


def main() -> None:
    """Create runs in a store."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--store", required=True)
    parser.add_argument("--experiments", type=int, default=1)
    parser.add_argument("--evals", action="store_true", help="also write tables of evaluations")
    parser.add_argument(
        "--epochs", type=int, default=0, help="length of the training log of 5 series"
    )
    parser.add_argument("--steps", action="store_true", help="write the record of the step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--now", action="store_true", help="run ids of the current time, not of the past"
    )
    options = parser.parse_args()
    start = time.perf_counter()
    store, number = store_at(options.store), 0
    for batch in make(
        store,
        options.runs,
        experiments=options.experiments,
        evals=options.evals,
        epochs=options.epochs,
        steps=options.steps,
        seed=options.seed,
        now=options.now,
    ):
        number += len(batch)
        print(f"{number} runs, {time.perf_counter() - start:.1f} s", file=sys.stderr)
    print(f"{number} runs in {store.uri}: {time.perf_counter() - start:.1f} s")


def store_at(text: str) -> Store:
    """Open the store of a string as `rvlab.Lab` does."""
    kind, _, folder = text.partition(":")
    if kind != "embedded":
        return Store(text)
    from rvlab.store import server

    one = server.start_server(folder or None)
    access = S3Access(one.endpoint, one.access_key, one.secret_key, region=one.region)
    return Store(f"s3://{one.bucket}", access)


def make(
    store: Store,
    runs: int,
    *,
    experiments: int = 1,
    evals: bool = False,
    epochs: int = 0,
    steps: bool = False,
    seed: int = 0,
    now: bool = False,
) -> Iterator[list[Run]]:
    """Write ended runs to a store, 1,000 at a time.

    Args:
        store: The store.
        runs: Number of runs.
        experiments: Number of experiments among which the runs are distributed.
        evals: Whether to write tables of evaluations, with 4 scenes and 5 classes.
        epochs: Length of the training log; 0 writes none.
        steps: Whether to write the record of the step.
        seed: Random seed of all numbers.
        now: Whether the run ids have the current time; otherwise they are 30 s apart, up to now.

    Yields:
        The runs that have just been written.
    """
    rng = random.Random(seed)
    start = datetime.now(UTC) - EVERY_S * timedelta(seconds=1) * (0 if now else runs)
    for first in range(0, runs, BATCH):
        numbers = range(first, min(first + BATCH, runs))
        made: list[Run] = []
        memory = in_memory(store)
        for experiment_number in range(experiments):
            name = EXPERIMENT if experiments == 1 else f"{EXPERIMENT}-{experiment_number}"
            own_numbers = [n for n in numbers if n % experiments == experiment_number]
            # At most one id per second: of a thousand ids in one second, two may be equal.
            ids = [
                new_run_id(start + timedelta(seconds=n * (1 if now else EVERY_S)))
                for n in own_numbers
            ]
            points = [point(rng) for _ in own_numbers]
            submit_options = SubmitOptions(name, "local", name="made")
            new_runs = (
                prepare_runs(memory, RECIPE, points, submit_options, ids=ids) if own_numbers else []
            )
            for run in new_runs:
                _write_end(memory, run, rng, evals=evals, epochs=epochs, steps=steps)
            made += new_runs
        _copy_store(memory, store)
        yield made


def in_memory(like: Store) -> Store:
    """Return a store in memory whose runs have the URIs of another store."""
    from obstore.store import MemoryStore

    memory = Store(like.uri, like.access)
    vars(memory)["_objects"] = ObstoreStorage(MemoryStore(), "The store in memory")
    return memory


def layout() -> Layout:
    """Return the keys of a run by writing one with the current code."""
    memory = in_memory(Store("s3://nowhere/at-all"))
    run = prepare_runs(memory, RECIPE, [{}], SubmitOptions(EXPERIMENT, "local"))[0]
    before = dict(memory.files())
    _write_end(memory, run, random.Random(0), evals=True, epochs=1, steps=True)
    after = dict(memory.files())

    def pattern(key: str) -> str:
        return key.replace(run.id, "{run}").replace(EXPERIMENT, "{experiment}", 1)

    _, end = max((size, key) for key, size in after.items() if key not in before and _ends(key))
    return Layout(tuple(sorted(pattern(key) for key in after)), pattern(end))


def point(rng: random.Random) -> dict[str, Any]:
    """Draw random parameters of one run."""
    return {
        "lr": 10 ** rng.uniform(-5, -1),
        "weight_decay": 10 ** rng.uniform(-6, -2),
        "momentum": rng.uniform(0.5, 0.99),
        "dropout": rng.choice([0.0, 0.1, 0.2, 0.5]),
        "gamma": rng.random(),
        "label_smoothing": rng.random() / 10,
        "ignore_below": rng.random() / 10,
        "epochs": rng.randint(1, 100),
        "batch_size": 2 ** rng.randint(1, 7),
        "chip_px": rng.choice([128, 256, 512]),
        "stride_px": rng.choice([64, 128, 256]),
        "workers": rng.randint(0, 16),
        "warmup": rng.randint(0, 1000),
        "backbone": rng.choice(["resnet18", "resnet50", "convnext_tiny"]),
        "optimizer": rng.choice(["adamw", "sgd"]),
        "schedule": rng.choice(["cosine", "step", "one_cycle"]),
        "loss": rng.choice(["ce", "dice", "focal"]),
        "augment": rng.random() < 0.5,
        "pretrained": rng.random() < 0.5,
        "amp": rng.random() < 0.5,
    }


def metrics(rng: random.Random) -> dict[str, float]:
    """Draw 20 random headline metrics of one run."""
    names = ["f1", "precision", "recall", "mean_iou", "accuracy", "rv_average_f1"]
    names += [f"{m}.{c}" for c in CLASSES for m in ("f1", "iou")]
    names += [f"{g}.{m}" for g in ("test", "far") for m in ("f1", "mean_iou")]
    return {name: rng.random() for name in names}


def log_csv(epochs: int, rng: random.Random) -> str:
    """Return a random training log of five series in Raster Vision's format."""
    lines = [",".join(["epoch", *SERIES])]
    for epoch in range(epochs):
        values = (rng.random() / (1 + epoch) for _ in SERIES)
        lines.append(",".join([str(epoch), *map(str, values)]))
    return "\n".join(lines) + "\n"


def _ends(key: str) -> bool:
    """Return whether a key is neither a table, a log, a step nor a file of Raster Vision."""
    run = key.partition("/")[2]
    return not any(part in run for part in ("tables/", "steps/", "rv/", "logs/"))


def _write_end(
    memory: Store, run: Run, rng: random.Random, *, evals: bool, epochs: int, steps: bool
) -> None:
    from rvlab.worker.records import SPEC, write_end
    from rvlab.worker.results import evaluation_tables, history_from_log
    from rvlab.worker.summarize import write_tables

    spec = memory.get_json(run.key(SPEC))
    begun = datetime.fromisoformat(spec["created"])
    trained_s = rng.uniform(60, 6000)
    record = StepRecord(
        step="train",
        state="succeeded",
        started=_iso(begun),
        beat=_iso(begun + timedelta(seconds=trained_s)),
        ended=_iso(begun + timedelta(seconds=trained_s)),
        host="made",
        pid=1,
        peak_mb=round(rng.uniform(500, 5000), 1),
        cpu_s=round(trained_s, 2),
        device="cpu",
        exit_code=0,
    )
    memory.put_json(run.step_key("train"), record.record())
    tables = {}
    if evals:
        tables["evals"], tables["confusion"] = evaluation_tables(_eval_json(rng), CLASS_CONFIG)
    if epochs:
        text = log_csv(epochs, rng)
        memory.put(run.key("rv", "train", "log.csv"), text.encode())
        tables["history"] = history_from_log(text)
    if tables:
        write_tables(memory, run, tables)
    sets = {"validation": hashlib.sha256(run.experiment.encode()).hexdigest()[:16]}
    write_end(memory, run, spec, "succeeded", metrics=metrics(rng), eval_sets=sets)
    if not steps:
        memory.delete([run.step_key("train")])


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")


def _eval_json(rng: random.Random) -> Mapping[str, Any]:
    """Return a random ``eval.json`` of Raster Vision for a group of four scenes."""
    names = CLASS_CONFIG["names"]

    def items() -> list[dict[str, Any]]:
        matrix = [[rng.randint(0, 10**6) for _ in names] for _ in names]
        own = {m: rng.random() for m in ("f1", "precision", "recall")}
        average = {"class_name": "average", "metrics": own, "conf_mat": matrix}
        return [
            *({"class_id": i, "class_name": n, "metrics": own} for i, n in enumerate(names)),
            average,
        ]

    scenes = {f"scene-{i}": items() for i in range(4)}
    return {"validation_scenes": {"overall": items(), "per_scene": scenes}}


def _copy_store(memory: Store, store: Store) -> None:
    """Copy all keys of one store to another."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        keys = [key for key, _ in memory.files()]
        list(pool.map(lambda key: store.put(key, memory.get(key)), keys))


def prepare_store(root: Store, name: str, runs: int, **made: Any) -> str:
    """Create a store with runs below a root, unless it exists, and return its URI.

    Args:
        root: The bucket or folder.
        name: Prefix of the store's name.
        runs: Number of runs.
        **made: Further arguments of `make`.
    """
    found = layout()
    folder = f"{name}-{runs}-{found.digest}"
    uri, done = f"{root.uri}/{folder}", f"prepared/{folder}.json"
    if not root.exists(done):
        print(f"Creating {runs} runs; 1,000 take some seconds.", file=sys.stderr)
        start = time.perf_counter()
        for _ in make(Store(uri, root.access), runs, **made):
            pass
        took = time.perf_counter() - start
        root.put(done, json.dumps({"seconds": took}).encode())
        print(f"Created in {took:.0f} s.", file=sys.stderr)
    return uri


if __name__ == "__main__":
    main()
