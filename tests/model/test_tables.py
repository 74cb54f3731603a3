"""The schemas of tables: what runs write, what the lab returns, and what the documentation says."""

from __future__ import annotations

import inspect
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from rvlab import Lab
from rvlab.frame.params import differing_columns
from rvlab.model import EndRecord, Spec, StepRecord, run_costs
from rvlab.model.overview_tables import OVERVIEW_TABLES
from rvlab.model.schema import ARROW_TYPES, TableSchema
from rvlab.model.tables import (
    FILE_TABLES,
    LAB_TABLES,
    RUNS_TABLE,
    STEPS_TABLE,
)
from rvlab.store import Store
from rvlab.store.table_file import arrow_schema
from tests.conftest import Trained
from tests.frame.samples import Made

ROOT = Path(__file__).parents[2]

READERS: dict[str, Any] = {name: getattr(Lab, name) for name in LAB_TABLES}


def dtypes(table: pd.DataFrame) -> dict[str, str]:
    return {str(name): str(dtype) for name, dtype in table.dtypes.items()}


def other_dtypes(name: str, schema: TableSchema) -> Iterator[tuple[str, str]]:
    for one in schema.others:
        yield one.name.partition("{")[0], str(one.dtype)


# What is written and returned


@pytest.mark.parametrize("name", FILE_TABLES)
def test_file_of_a_real_run_has_the_declared_columns(trained: Trained, name: str) -> None:
    lab = trained.lab
    run = trained.runs["first"]
    found = pq.read_schema(io.BytesIO(lab.store.get(run.key("tables", f"{name}.parquet"))))
    schema = FILE_TABLES[name].with_others(found.names) if FILE_TABLES[name].others else None
    wanted = arrow_schema(schema or FILE_TABLES[name])
    assert found.remove_metadata().equals(wanted)


@pytest.mark.parametrize("name", LAB_TABLES)
def test_table_of_real_runs_has_the_declared_columns(trained: Trained, name: str) -> None:
    schema = LAB_TABLES[name]
    runs = trained.table.query("state == 'succeeded'")
    params = differing_columns(runs)
    assert params
    table = READERS[name](trained.lab, runs)
    assert len(table)
    found = dtypes(table)
    declared = {column: found.pop(column) for column in list(found) if column in schema.names}
    assert declared == schema.dtypes
    if name != "runs":  # whose order depends on its values
        assert list(declared) == list(schema.dtypes)
        start = list(table.columns)[list(table.columns).index("run") :]
        assert start[:2] == ["run", "name"]
        assert set(start[2 : 2 + len(params)]) == set(params)
    for column, dtype in found.items():
        allowed = [t for start, t in other_dtypes(name, schema) if column.startswith(start)]
        assert "by its values" in allowed or dtype in allowed or "…" in schema.others[0].name


@pytest.mark.parametrize("name", [name for name in LAB_TABLES if name != "windows"])
def test_table_without_rows_has_the_declared_columns(tmp_path: Path, name: str) -> None:
    table = READERS[name](Lab(Store(tmp_path)))
    assert len(table) == 0
    assert list(dtypes(table).items()) == list(LAB_TABLES[name].dtypes.items())


@pytest.mark.parametrize("name", ["experiments", "recipes"])
def test_overview_has_the_declared_columns(tmp_path: Path, name: str) -> None:
    lab = Lab(Store(tmp_path))
    Made(lab.store).ended({"lr": 0.1}, {"f1": 0.5})
    found = dtypes(getattr(lab, name)())
    schema = OVERVIEW_TABLES[name]
    assert {column: found.pop(column) for column in schema.names} == schema.dtypes
    assert found == ({"metrics.f1": "float64"} if schema.others else {})


def test_columns_of_records_are_fields_and_keep_their_types() -> None:
    for record, schema in ((Spec, RUNS_TABLE), (EndRecord, RUNS_TABLE), (StepRecord, STEPS_TABLE)):
        declared = [one.name for one in fields(record) if "column" in one.metadata]
        assert set(declared) <= set(schema.names)
    dtypes = {one.dtype for table in FILE_TABLES.values() for one in table.columns}
    assert dtypes <= set(ARROW_TYPES)


def test_costs_of_a_run_are_declared() -> None:
    step = StepRecord(
        step="train",
        state="succeeded",
        started="2026-11-23T15:42:01+00:00",
        beat="2026-11-23T15:42:06+00:00",
        host="here",
        pid=1,
        peak_mb=1.0,
        gpu_peak_mb=2.0,
        cpu_s=3.0,
    )
    names = {f"costs.{name}" for name in run_costs([step])} | {"costs.bytes"}
    declared = {one.name for one in RUNS_TABLE.others if one.name.startswith("costs.")}
    assert {name.replace("train", "{step}") for name in names} == declared


# What is documented


def test_page_of_records_has_the_tables_of_the_schemas() -> None:
    tool = ROOT / "tools" / "write_tables.py"
    done = subprocess.run(
        [sys.executable, str(tool), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def public_methods() -> list[str]:
    return [name for name, one in vars(Lab).items() if inspect.isfunction(one) and name[0] != "_"]


@pytest.mark.parametrize("name", [*LAB_TABLES, *OVERVIEW_TABLES])
def test_docstring_of_a_table_lists_its_columns_with_dtypes_and_units(name: str) -> None:
    text = inspect.getdoc(getattr(Lab, name)) or ""
    table = {**LAB_TABLES, **OVERVIEW_TABLES}[name]
    for one in (*table.columns, *table.others):
        assert f"    {one.name} ({one.dtype}{', ' if one.unit else ''}{one.unit}): " in text


@pytest.mark.parametrize("name", public_methods())
def test_docstring_of_the_lab_describes_every_argument_and_error(name: str) -> None:
    method = getattr(Lab, name)
    text = inspect.getdoc(method) or ""
    arguments = list(inspect.signature(method).parameters)[1:]
    sentences = text.partition("Args:\n")[2].partition("\n\n")[0]
    lines = [line.strip().lstrip("*").partition(":")[0] for line in sentences.splitlines()]
    described = [line for line in lines if line in arguments]
    assert described == [one for one in arguments if one in described]
    assert [n for n in arguments if n not in described and f"`{n}`" not in text] == []
    if {"run", "runs"} & set(arguments):
        assert "NotFound: " in text.partition("Raises:")[2]


# One declaration

NEW_FIELDS = {
    "spec.py": (
        "    folder: str | None = None\n",
        "    queue: str | None = field(\n        default=None,\n        metadata=column_field("
        '"The queue of the cluster.", diff="queue", in_report=True),\n    )\n',
    ),
    "end.py": (
        "    metrics: Mapping[str, float | None]\n",
        "    energy_kwh: float | None = field(\n        default=None,\n        metadata="
        'column_field("The energy that the run has used.", unit="kWh"),\n    )\n',
    ),
}

SCRIPT = """
import sys
from pathlib import Path
from rvlab import Lab, compare
from rvlab.cache.background import DeferredWrites
from rvlab.report.run_summary import load_run_summary
from rvlab.store import Store
from tests.frame.samples import Made

store = Store(Path(sys.argv[1]))
made = Made(store)
a, b = made.ended({"lr": 0.1}, queue="fast"), made.ended({"lr": 0.1}, queue="slow")
store.put_json(a.end_key, {**store.get_json(a.end_key), "energy_kwh": 1.5})
for run in (a, b):
    store.put(run.key("recipe.py"), b"")
    store.put_json(run.key("rv", "pipeline-config.json"), {})
for _ in range(2):  # the second table is read from the cache
    table = Lab(store).runs()
    assert table["queue"].tolist() == ["fast", "slow"], table["queue"]
    assert table["queue"].dtype == "string"
    assert table["energy_kwh"].tolist()[0] == 1.5
    assert table["energy_kwh"].isna().tolist() == [False, True]
    assert table["energy_kwh"].dtype == "float64"
    DeferredWrites.flush()
assert list(table).index("queue") == list(table).index("priority") + 1
found = compare.diff(a, b)
assert found[["kind", "key", "a", "b"]].values.tolist() == [["queue", "queue", "fast", "slow"]]
assert ("queue", "fast") in load_run_summary(a).about_pairs
assert "energy_kwh (float64, kWh): The energy that the run has used." in Lab.runs.__doc__
"""


def test_column_of_runs_needs_one_declaration(tmp_path: Path) -> None:
    copy = tmp_path / "package"
    shutil.copytree(ROOT / "rvlab", copy / "rvlab", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("tools", "docs"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("images"))
    for name, (before, added) in NEW_FIELDS.items():
        path = copy / "rvlab" / "model" / name
        text = path.read_text()
        assert text.count(before) == 1
        path.write_text(text.replace(before, added + before))
    env = {**os.environ, "PYTHONPATH": f"{copy}{os.pathsep}{ROOT}"}
    env["RVLAB_CACHE"] = str(tmp_path / "cache")

    def run(*command: str) -> None:
        done = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, check=False, env=env,
            cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    run("-W", "error", "-c", SCRIPT, str(tmp_path / "store"))
    run(str(copy / "tools" / "write_tables.py"))
    page = (copy / "docs" / "records.md").read_text()
    assert "| `queue` | string |  | The queue of the cluster. |" in page
    assert "| `energy_kwh` | float64 | kWh | The energy that the run has used. |" in page
