"""Shared helpers of the benchmarks: fresh child processes, the S3 server, and printed results.

A script measures each variant in a separate child process. The child is the same script with
``--child WAY``: it calls the function of that name and prints its numbers as JSON on the last line.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rvlab.store import S3Access, Store, server

Numbers = dict[str, float]


def arguments(doc: str | None, ways: Iterable[str], **more: Any) -> Any:
    """Parse the common options of all benchmarks and the options of one benchmark.

    Args:
        doc: The description of the script.
        ways: The valid values of ``--child``.
        **more: Further options and their defaults. A bool is a flag, a type is a required option
            of that type, and None is an optional string.
    """
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--child", choices=list(ways), help=argparse.SUPPRESS)
    for name, default in more.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(default, bool):
            parser.add_argument(flag, action="store_true")
        elif isinstance(default, type):
            parser.add_argument(flag, type=default, required=True)
        else:
            kind = str if default is None else type(default)
            parser.add_argument(flag, type=kind, default=default)
    return parser.parse_args()


def child(way: str, environ: Mapping[str, str] | None = None) -> Numbers:
    """Run this script in a fresh process and return the numbers that it measures.

    Args:
        way: The value of ``--child``.
        environ: Additional environment variables.
    """
    done = subprocess.run(
        [sys.executable, *sys.argv, "--child", way],
        env={**os.environ, **(environ or {})},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: Numbers = json.loads(done.stdout.splitlines()[-1])
    return found


def answer(ways: Mapping[str, Callable[[], Numbers]], way: str) -> None:
    """Measure in the child process and print the numbers as JSON."""
    print(json.dumps(ways[way]()))


@contextmanager
def embedded_store(folder: Path) -> Iterator[Store]:
    """Start an S3 server in a folder and stop it again, unless it was already running."""
    folder.mkdir(parents=True, exist_ok=True)
    ran = server.find_server(folder) is not None
    one = server.start_server(folder)
    try:
        access = S3Access(one.endpoint, one.access_key, one.secret_key, region=one.region)
        yield Store(f"s3://{one.bucket}", access)
    finally:
        if not ran:
            server.stop_server(folder)


@contextmanager
def folder(data: Path) -> Iterator[Path]:
    """Create a temporary folder, for a cache or a home."""
    data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=data, prefix="fresh-") as name:
        yield Path(name)


def environ(root: Store, uri: str, cache: Path, endpoint: str | None = None) -> dict[str, str]:
    """Return the environment variables with which ``rvlab.Lab()`` opens a store.

    Args:
        root: The bucket of the store.
        uri: The URI of the store.
        cache: The folder for the local cache and home.
        endpoint: The S3 endpoint, such as that of a proxy; None uses the endpoint of `root`.
    """
    found = root.environ()
    if endpoint:
        names = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
        found = {**found, **dict.fromkeys(names, endpoint)}
    home = {"RVLAB_HOME": str(cache / "home"), "RVLAB_CACHE": str(cache / "cache")}
    return {**found, **home, "RVLAB_STORE": uri}


def median(numbers: Sequence[Numbers], name: str) -> float:
    """Return the median of one number over several measurements."""
    return statistics.median(one[name] for one in numbers)


def seconds(what: str, found: Sequence[float]) -> None:
    """Print the median and range of several times."""
    low, middle, high = min(found), statistics.median(found), max(found)
    print(f"{what:58}{middle:9.3f} s   ({low:.3f} to {high:.3f}, of {len(found)})")


def ratio(what: str, value: float, goal: str) -> None:
    """Print a ratio, its goal, such as ``<= 5``, and whether the goal is reached."""
    sign, limit = goal.split()
    good = value <= float(limit) if sign == "<=" else value >= float(limit)
    print(f"{what:58}{value:9.2f}     goal {goal:8} {'reached' if good else 'MISSED'}")


def libraries() -> None:
    """Import pandas and pyarrow, so that measurements do not include their import."""
    import pandas
    import pyarrow.parquet

    assert pandas
    assert pyarrow.parquet


def peak_mb() -> float:
    """Return the peak memory of this process in MiB.

    ``getrusage`` is not used, because it can report the peak of the parent process.
    """
    return _status("VmHWM")


def held_mb() -> float:
    """Return the current memory of this process in MiB."""
    return _status("VmRSS")


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith(f"{name}:"))
    return int(line.split()[1]) / 1024
