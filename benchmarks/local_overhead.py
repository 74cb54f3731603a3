"""Benchmark: the overhead of the local engine compared with ``rastervision run inprocess``.

Both train, predict, evaluate and bundle the same config on the same scenes with the same number of
threads. The local engine also writes records, heartbeats and logs, runs each step in a separate
process, and summarizes. The measured value is the CPU time (user and system) of all processes,
including the supervisor. Plain Raster Vision uses the older ONNX exporter, without which its train
step fails.

    python benchmarks/local_overhead.py [--pairs 3] [--epochs 8]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rvlab.engines.job_queue import Job, JobQueue
from rvlab.recipes import find_recipe
from rvlab.store import Store
from rvlab.submission import SubmitOptions, prepare_runs

RECIPE = "synthetic_town"

PLAIN = """
import functools, sys, torch
torch.onnx.export = functools.partial(torch.onnx.export, dynamo=False)
from rastervision.pipeline.cli import main
main()
"""

OURS = """
import sys
from pathlib import Path
from rvlab.engines.job_queue import Job, JobQueue
from rvlab.engines.supervisor import Supervisor
Supervisor(JobQueue(Path(sys.argv[1]))).work()
"""


def cpu_seconds(command: list[str], env: dict[str, str]) -> float:
    """Return the CPU time of a command and all its children, in seconds."""
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    error = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command[:4]} exited with status {process.returncode}:\n{error[-2000:]}")
    return usage.ru_utime + usage.ru_stime


def plain(folder: Path, data: Path, epochs: int, env: dict[str, str]) -> float:
    path = folder / "recipe.py"
    path.write_text(find_recipe(RECIPE).source)
    given = {"root_uri": folder / "rv", "data_uri": data, "epochs": epochs}
    args = [word for k, v in given.items() for word in ("-a", k, str(v))]
    return cpu_seconds([sys.executable, "-c", PLAIN, "run", "inprocess", str(path), *args], env)


def ours(folder: Path, data: Path, epochs: int, env: dict[str, str]) -> float:
    store = Store(folder / "store")
    points = [{"data_uri": str(data), "epochs": epochs}]
    run = prepare_runs(store, find_recipe(RECIPE), points, SubmitOptions("bench", "local"))[0]
    queue = JobQueue.for_store(store)
    queue.add(Job(run.uri, max_parallel=1, cwd=str(folder)))
    seconds = cpu_seconds([sys.executable, "-c", OURS, str(queue.folder)], env)
    state = store.get_json(run.end_key)["state"]
    if state != "succeeded":
        raise SystemExit(f"The run is {state}, not succeeded.")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rvlab-bench-") as name:
        root = Path(name)
        os.environ["RVLAB_HOME"] = str(root / "home")
        env = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(root), "TQDM_MININTERVAL": "10"}
        pairs = []
        for number in range(args.pairs + 1):
            folder = root / str(number)
            folder.mkdir()
            (folder / "plain").mkdir()
            first = plain(folder / "plain", root / "data", args.epochs, env)
            second = ours(folder, root / "data", args.epochs, env)
            warm = " (warm-up, not counted: it creates the scenes)" if number == 0 else ""
            print(
                f"plain {first:6.1f} s   ours {second:6.1f} s   {second / first:.3f}{warm}",
                flush=True,
            )
            if number:
                pairs.append(second / first)
    print(f"\nratio of CPU time, median of {len(pairs)} pairs: {statistics.median(pairs):.3f}")
    print("goal: at most 1.15")


if __name__ == "__main__":
    main()
