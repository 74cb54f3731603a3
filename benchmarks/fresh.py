"""What the measurements share: processes that start fresh, the server they talk to, and the table.

A script measures each way in a child process of its own, which is the same script with ``--child
WAY``: it runs the function of that name and prints its numbers as the last line, in JSON.
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
    """The arguments that every script has, and more.

    Args:
        doc: The script's own words.
        ways: What a child may be asked for.
        **more: Further options and their defaults, a bool being a flag; None is left to be text.
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
    """What a fresh process of this script measures.

    Args:
        way: The name of what it is asked for.
        environ: Variables it has beside those of this process.
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
    """Be the child: measure, and print the numbers."""
    print(json.dumps(ways[way]()))


@contextmanager
def embedded(folder: Path) -> Iterator[Store]:
    """The bucket of an S3 server in a folder; one that was not running is stopped in the end."""
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
    """A folder that is empty, and gone in the end: a cache, or a home."""
    data.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=data, prefix="fresh-") as name:
        yield Path(name)


def environ(root: Store, uri: str, cache: Path, endpoint: str | None = None) -> dict[str, str]:
    """The variables with which ``rvlab.Lab()`` opens a store, with a cache of its own.

    Args:
        root: The bucket it lies in.
        uri: The store.
        cache: The folder of its cache.
        endpoint: Where S3 is, if not where `root` has it: at a wire's near end.
    """
    found = root.environ()
    if endpoint:
        names = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
        found = {**found, **dict.fromkeys(names, endpoint)}
    home = {"RVLAB_HOME": str(cache / "home"), "RVLAB_CACHE": str(cache / "cache")}
    return {**found, **home, "RVLAB_STORE": uri}


def median(numbers: Sequence[Numbers], name: str) -> float:
    """The median of one of the numbers."""
    return statistics.median(one[name] for one in numbers)


def seconds(what: str, found: Sequence[float]) -> None:
    """Print a time, as the median of several, and how far these lie apart."""
    low, middle, high = min(found), statistics.median(found), max(found)
    print(f"{what:58}{middle:9.3f} s   ({low:.3f} to {high:.3f}, of {len(found)})")


def ratio(what: str, value: float, goal: str) -> None:
    """Print a ratio and its goal, such as ``<= 5``, and whether it is reached."""
    sign, limit = goal.split()
    good = value <= float(limit) if sign == "<=" else value >= float(limit)
    print(f"{what:58}{value:9.2f}     goal {goal:8} {'reached' if good else 'MISSED'}")


def libraries() -> None:
    """Import what a notebook has imported before it asks for a table."""
    import pandas
    import pyarrow.parquet

    assert pandas
    assert pyarrow.parquet


def peak_mb() -> float:
    """The most memory this process held, in MiB; getrusage would tell that of its parent."""
    return _status("VmHWM")


def held_mb() -> float:
    """The memory this process holds now, in MiB."""
    return _status("VmRSS")


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith(f"{name}:"))
    return int(line.split()[1]) / 1024
