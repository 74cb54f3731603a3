"""Shared fixtures: an embedded S3 server and trained runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if "PYTEST_XDIST_WORKER" in os.environ:  # set before numpy and torch read it on import
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pandas as pd
import pytest

from rvlab import Lab
from rvlab.model import Run
from rvlab.store import S3Access, Store, server
from rvlab.store.server import Server
from tests.browser import browser, chromium, jupyterlab  # noqa: F401  fixtures
from tests.engines.warm_engines import WarmLocal
from tests.kubeflow.warm import warm

os.environ["MPLBACKEND"] = "agg"
hypothesis.settings.register_profile(  # a machine may be busy with other work
    "rvlab", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("rvlab")
pytest.register_assert_rewrite("tests.contracts")

GROUPS = {
    "demo": "demo",
    "full_demo": "demo",
    "trained": "trained",
    "trained_cc": "learned",
    "trained_od": "learned",
    "browser": "browser",
    "site": "browser",
    "kubeflow": "kubeflow",
    "python": "pods",
    "steps": "recipes",
    "fetched": "neon",
    "docker": "docker",
}
"""Expensive fixtures, and the group of tests that share each of them in one process."""


def pytest_xdist_auto_num_workers() -> int:
    """Return one process more than there are cores, since many tests wait for child processes."""
    return min(4, 1 + (os.cpu_count() or 1))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Group the tests for pytest-xdist: by expensive fixture, else by file; long groups first.

    A test that may take longer than the others has a time limit of its own.
    """
    if not hasattr(config, "workerinput"):
        return
    limits: dict[str, float] = {}
    long: dict[str, int] = {}
    groups: dict[pytest.Item, str] = {}
    for item in items:
        group = groups[item] = _group(item)
        item.add_marker(pytest.mark.xdist_group(group))
        if item.get_closest_marker("extended") and config.option.markexpr == "not extended":
            continue
        limit = item.get_closest_marker("timeout")
        limits[group] = limits.get(group, 0) + (limit.args[0] if limit else 0)
        marked = any(item.get_closest_marker(name) for name in ("slow", "extended"))
        long[group] = long.get(group, 0) + marked
    first = list(dict.fromkeys(GROUPS.values()))

    def order(item: pytest.Item) -> tuple[float, int, int]:
        group = groups[item]
        place = first.index(group) if group in first else len(first)
        return -limits.get(group, 0), place, -long.get(group, 0)

    items.sort(key=order)


def _group(item: pytest.Item) -> str:
    """Return the group of a test, by its fixtures or by a parameter that names one."""
    params = getattr(getattr(item, "callspec", None), "params", {}).values()
    names = {*getattr(item, "fixturenames", ()), *(p for p in params if isinstance(p, str))}
    for fixture, group in GROUPS.items():
        if fixture in names:
            return group
    return str(item.path.relative_to(Path(__file__).parent).with_suffix(""))


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for the queue, the servers and the cache, separate from the user's."""
    folder = tmp_path_factory.mktemp("home")
    names = ("RVLAB_HOME", "RVLAB_CACHE", "RVLAB_STORE")
    before = {name: os.environ.get(name) for name in names}
    os.environ["RVLAB_HOME"] = str(folder)
    os.environ["RVLAB_CACHE"] = str(folder / "cache")
    os.environ.pop("RVLAB_STORE", None)
    os.environ.pop("COLUMNS", None)  # pytest-xdist sets it, and the shell's tables obey it
    yield folder
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """rvlab's embedded S3 server."""
    folder = tmp_path_factory.mktemp("s3")
    yield server.start_server(folder, timeout_s=600)
    server.stop_server(folder)


@pytest.fixture(scope="session")
def s3_access(s3: Server) -> S3Access:
    """Endpoint and credentials of the server."""
    return S3Access(s3.endpoint, s3.access_key, s3.secret_key, region=s3.region)


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Command that runs steps of pipelines; see `tests.kubeflow.warm`."""
    with warm(tmp_path_factory.mktemp("python"), {"PYTHONHASHSEED": "0"}) as command:
        yield command


TINY = Path(__file__).parent / "data" / "tiny.py"


@dataclass(frozen=True)
class Trained:
    """A lab on S3 and its ended runs, each named after its special property."""

    lab: Lab
    runs: dict[str, Run]
    table: pd.DataFrame

    def row(self, name: str) -> pd.Series[Any]:
        return self.table.loc[self.runs[name].id]


def lab_on(s3: Server, access: S3Access, folder: str, python: Path) -> Lab:
    """Return a lab whose store is a folder of the embedded server's bucket."""
    engine = WarmLocal(max_parallel=2, python=str(python))
    return Lab(Store(f"s3://{s3.bucket}/{folder}", access), engine)


@pytest.fixture(scope="session")
def trained(s3: Server, s3_access: S3Access, python: Path) -> Trained:
    """Six tiny runs of the local engine, two at a time, on the embedded S3 server."""
    lab = lab_on(s3, s3_access, "trained", python)
    params: dict[str, dict[str, Any]] = {
        "first": {"nochip": False, "splits": 2},
        "again": {"nochip": False, "splits": 2},
        "other seed": {"nochip": False, "splits": 2, "seed": 1},
        "no chips": {"nochip": True, "keep_scores": True},
        "raises": {"raises": "the imagery is on another disk"},
        "train fails": {"no_such_class": True},
    }
    runs = {
        name: lab.submit(TINY, experiment="tiny", **{"epochs": 2, **given})
        for name, given in params.items()
    }
    table = lab.wait(list(runs.values()), progress=False)
    return Trained(lab, runs, table)


@pytest.fixture(scope="session")
def predicted(trained: Trained) -> Run:
    """A prediction of the run ``no chips`` by the local engine."""
    run = predict_validation(trained.lab, trained.runs["no chips"])
    table = trained.lab.wait(run, progress=False)
    assert table["state"].item() == "succeeded", table["error"].item()
    return run


def predict_validation(lab: Lab, model: Run) -> Run:
    """Predict the validation scenes that a run of the recipe ``tiny`` has drawn, with labels."""
    folder = f"{lab.store.uri}/_data/**"
    images, labels = (f"{folder}/validation-?{end}.tif" for end in ("", "-labels"))
    return lab.predict(model, images, labels=labels, splits=2)


@pytest.fixture(scope="session")
def trained_cc(s3: Server, s3_access: S3Access, python: Path) -> Trained:
    """A small trained chip classification, on the same engine and server."""
    return trained_on(
        lab_on(s3, s3_access, "trained-cc", python), "synthetic_town_classification", epochs=5
    )


@pytest.fixture(scope="session")
def trained_od(s3: Server, s3_access: S3Access, python: Path) -> Trained:
    """A small trained object detection, on the same engine and server."""
    return trained_on(
        lab_on(s3, s3_access, "trained-od", python),
        "synthetic_town_detection",
        epochs=10,
        train_scenes=3,
        chips_per_scene=16,
    )


def trained_on(lab: Lab, recipe: str, **params: Any) -> Trained:
    """Train one run of a recipe on small scenes, named ``first``."""
    runs = {"first": lab.submit(recipe, experiment="small", scene_px=384, **params)}
    table = lab.wait(list(runs.values()), progress=False)
    return Trained(lab, runs, table)


NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
SMALL = {
    **{"lrs": [1e-4, 1e-3, 1e-2], "widths": [4], "epochs": 1},
    **{"tree_lrs": [1e-2], "tree_epochs": 1},
    **{"test_lrs": [1e-3, 1e-2], "test_widths": [4], "seeds": [0], "test_epochs": 1},
    **{"cell_epochs": 1, "box_lrs": [3e-3], "box_epochs": 1, "others_px": 256},
    **{"town_px": 256, "torch_steps": 10, "crop_px": 64},
}
"""Parameters of the notebooks for 8 small runs, 3 predictions and one that is adopted."""


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """Output folder and printed text of ``make demo`` with small runs, without a cluster.

    ``05_kubeflow.ipynb`` runs in ``tests/kubeflow/test_notebook.py``.
    """
    here = [p for p in sorted(NOTEBOOKS.glob("*.ipynb")) if p.stem != "05_kubeflow"]
    yield from _demo(tmp_path_factory.mktemp("demo"), "--parameters", json.dumps(SMALL), *here)


@pytest.fixture(scope="session")
def full_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """Output folder and printed text of ``make demo`` at full size."""
    yield from _demo(tmp_path_factory.mktemp("full-demo"))


def _demo(out: Path, *args: str | Path) -> Iterator[tuple[Path, str]]:
    done = subprocess.run(
        [sys.executable, NOTEBOOKS / "run.py", "--out", out, *args],
        env=demo_env(out),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    yield out, done.stdout
    server.stop_server(out / "s3")


def demo_env(out: Path) -> dict[str, str]:
    """Return an environment whose default store is that of the demo in `out`."""
    return {**os.environ, "RVLAB_HOME": str(out / "home"), "RVLAB_STORE": f"embedded:{out / 's3'}"}
