"""Benchmark: comparing and plotting a table of many runs with 20 parameters.

The table is made in memory: 3 seeds of each setting; parameters are numbers, texts and lists; the
metrics have noise. Each function is called in a fresh process, after its imports; plots include
their PNG. ``--pictures FOLDER`` saves the pictures. Goals are in seconds of processor time,
which other programs on the machine change little; no function uses a second processor.

    python benchmarks/compare.py [--runs 10000] [--repeats 5] [--pictures FOLDER]
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fresh
import numpy as np

if TYPE_CHECKING:
    import pandas as pd

PARAMS, SEEDS = 20, 3
GOALS = {
    "board": "<= 0.5",
    "seeds": "<= 3",
    "parallel": "<= 2",
    "importance": "<= 15",
    "scatter": "",
}


def table(number: int) -> pd.DataFrame:
    """Return a table of runs as ``lab.runs()`` returns it, without addresses."""
    import pandas as pd

    rng = np.random.default_rng(0)
    settings = -(-number // SEEDS)
    columns: dict[str, Any] = {}
    for i in range(PARAMS):
        if i % 5 == 3:
            values = rng.choice(["resnet18", "resnet34", "resnet50"], settings).astype(object)
        elif i % 5 == 4:
            values = np.empty(settings, object)
            values[:] = [[0, 1, 2][: n + 1] for n in rng.integers(0, 3, settings)]
        elif i % 2:
            values = rng.choice([4, 8, 16, 32], settings)
        else:
            values = 10 ** rng.uniform(-5, -1, settings)
        columns[f"params.p{i:02d}"] = np.repeat(values, SEEDS)[:number]
    f1 = 0.6 + 0.1 * np.log10(columns["params.p00"] / 1e-3) + rng.normal(0, 0.03, number)
    runs = pd.DataFrame(
        {
            "experiment": "made",
            "recipe": "made",
            "seed": np.tile(np.arange(SEEDS), settings)[:number],
            "state": "succeeded",
            **columns,
            "metrics.f1": np.clip(f1, 0, 1),
            "metrics.mean_iou": np.clip(f1 - 0.1 + rng.normal(0, 0.01, number), 0, 1),
            "metrics.rv_average_f1": np.clip(f1 + rng.normal(0, 0.02, number), 0, 1),
            "eval_set": "7a1b",
        },
        index=pd.Index([f"r{i:06d}" for i in range(number)], name="run"),
    )
    text = ["experiment", "recipe", "state", "eval_set"]
    return runs.astype(dict.fromkeys(text, "string"))


def ways(options: Any) -> dict[str, Callable[[], Any]]:
    """Return what is measured, by name."""
    from rvlab import compare, plot

    runs = table(options.runs)

    def picture(made: Any, name: str) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            made.savefig(Path(options.pictures or scratch) / f"{name}.png", dpi=100)

    return {
        "board": lambda: compare.board(runs),
        "seeds": lambda: compare.seeds(runs),
        "parallel": lambda: picture(plot.parallel(runs), "parallel"),
        "importance": lambda: picture(plot.importance(runs), "importance"),
        "scatter": lambda: picture(plot.scatter(runs, "params.p00", hue="params.p03"), "scatter"),
    }


def measure(options: Any, name: str) -> fresh.Numbers:
    """Import what one function needs with a small table, then time one call."""
    small = ways(type(options)(**{**vars(options), "runs": 120}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small[name]()
        call = ways(options)[name]
        start, used = time.perf_counter(), time.process_time()
        call()
        return {
            "seconds": time.perf_counter() - start,
            "processor": time.process_time() - used,
        }


def main() -> None:
    """Measure and print the results."""
    options = fresh.arguments(__doc__, GOALS, runs=10_000, pictures=None)
    if options.child:
        measured = {name: partial(measure, options, name) for name in GOALS}
        fresh.answer(measured, options.child)
        return
    print(f"{options.runs} runs x {PARAMS} parameters, {SEEDS} seeds of each setting")
    for name, goal in GOALS.items():
        found = [fresh.child(name) for _ in range(options.repeats)]
        fresh.seconds(name, [one["seconds"] for one in found])
        if goal:
            fresh.ratio(f"{name}, processor seconds", fresh.median(found, "processor"), goal)


if __name__ == "__main__":
    main()
