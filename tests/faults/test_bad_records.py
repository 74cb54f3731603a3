"""Damaged records: each is one broken row or a row with its remaining content."""

from __future__ import annotations

import io
import json
import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rvlab import frame
from rvlab.cache.background import DeferredWrites
from rvlab.frame.boundaries import load_boundaries
from rvlab.frame.objects import load_objects_by_run
from rvlab.frame.params import param_columns
from rvlab.frame.windows import load_window_counts
from rvlab.model import Run
from rvlab.store import Store
from tests.faults import damage
from tests.faults.damage import KINDS, TABLES, Case, Nonsense

GOOD = 3
BATCH = 125
TABLES_OF_RUNS: Mapping[str, Callable[..., pd.DataFrame]] = {
    "evals": frame.evals_table,
    "confusion": frame.confusion_table,
    "scenes": frame.scene_fingerprints_table,
    "artifacts": frame.artifacts_table,
    "history": frame.history_table,
}
LOADERS: Mapping[str, Callable[..., Mapping[str, Any]]] = {
    "windows": load_window_counts,
    "objects": load_objects_by_run,
    "boundaries": load_boundaries,
}
NEW_COLUMNS = {"scenes": ("grid",)}
"""Columns that files of earlier versions lack."""

NEEDED = {
    "evals": ("group", "metric"),
    "confusion": ("group", "truth", "prediction", "count"),
    "scenes": ("group", "scene"),
    "artifacts": ("key", "bytes"),
    "windows": tuple(name for name in TABLES["windows"][0].names if name != "confident_fp"),
    "objects": tuple(
        name
        for name in TABLES["objects"][0].names
        if not name.startswith(("area", "center")) and name not in ("score", "best_iou", "partner")
    ),
    "boundaries": TABLES["boundaries"][0].names,
    "history": ("epoch",),
}


class Read:
    """All tables of some runs, and the warnings."""

    def __init__(self, store: Store, cases: Sequence[Case]) -> None:
        good = [damage.run_at(store, i) for i in range(GOOD)]
        every = [*good, *(case.run for case in cases)]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.runs = frame.runs_table(store, damage.EXPERIMENT).drop(columns="age")
            self.tables = {name: read(store, every) for name, read in TABLES_OF_RUNS.items()}
            self.tables["steps"] = frame.steps_table(store, every)
            self.counts = {
                name: load(store, [*good, *(case.run for case in cases if case.kind == name)])
                for name, load in LOADERS.items()
            }
            DeferredWrites.flush(store.uri)
        self.warned = [str(one.message) for one in caught]
        self.good = [run.id for run in good]

    def of(self, name: str, run: str) -> pd.DataFrame:
        """Return the rows of a run in one of the tables, without what differs between runs."""
        table = self.tables[name]
        rows = table[table["run"] == run].drop(columns=["run", "seed"], errors="ignore")
        return rows.drop(columns=param_columns(rows)).reset_index(drop=True)


def check(folder: Path, damaged: Callable[[Store], Sequence[Case]]) -> int:
    """Read a store without and with damaged runs, and return the number of broken rows."""
    store = Store(folder / "store")
    for i in range(GOOD):
        damage.write(store, damage.run_at(store, i))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RVLAB_CACHE", str(folder / "before"))
        before = Read(store, [])
        assert not before.warned
        cases = damaged(store)
        for case in cases:
            damage.write(store, case.run, case)
        patch.setenv("RVLAB_CACHE", str(folder / "after"))
        found = Read(store, cases)
        check_good(before, found)
        broken = sum(check_case(case, found) for case in cases)
        if cases[0].run.id[-1] == "3":  # sometimes also read from the cache
            again = Read(store, cases)
            broken_again = sum(check_case(case, again) for case in cases)
            assert broken_again == broken
    return broken


def check_good(before: Read, found: Read) -> None:
    """Check that the valid runs have the same rows as before the damage."""
    for run in before.good:
        for name in found.runs.columns:
            value = before.runs.loc[run, name] if name in before.runs else None
            assert same(found.runs.loc[run, name], value), (run, name)
        for name in TABLES_OF_RUNS:
            old, new = before.of(name, run), found.of(name, run)
            assert len(old) == len(new)
            for column in new:
                values = old[column] if column in old else [None] * len(new)
                assert all(map(same, new[column], values)), (run, name, column)
        pd.testing.assert_frame_equal(before.of("steps", run), found.of("steps", run))
        for name in LOADERS:
            assert before.counts[name][run].equals(found.counts[name][run])


def check_case(case: Case, found: Read) -> bool:
    """Check that a damaged run is broken with a reason, or has the content of its file."""
    row = found.runs.loc[case.run.id]
    warned = any(case.run.id in text for text in found.warned)
    if case.kind in ("end", "spec"):
        return check_row(case, row)
    if case.kind == "step":
        return check_step(case, found, row, warned)
    assert row["state"] == "succeeded", (case, row["error"])
    if case.kind == "edit":
        return check_edit(case, row, warned)
    if case.kind in LOADERS:
        table = found.counts[case.kind].get(case.run.id)
        rows = None if table is None else table.to_pylist()
    else:
        name = "history" if case.kind == "log.csv" else case.kind
        part = found.of(name, case.run.id)
        rows = part.to_dict("records") if len(part) else None
    try:
        expected = read_messages(case)
    except Nonsense:
        expected = None
    if expected is None:
        assert rows is None, case
        assert warned, case
        return True
    if rows is None:
        assert warned or not expected, case
        return warned
    check_rows(case, rows, expected)
    return False


def check_rows(case: Case, rows: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert len(rows) == len(expected), case
    for row, want in zip(rows, expected, strict=True):
        if case.kind == "artifacts":
            key = want.pop("key")
            assert row["uri"] in (key, f"{case.run.uri}/{key}"), case
        for name, value in want.items():
            assert same(row[name], value), (case, name, row[name], value)
        more = set(row) - set(want) - {"uri", "name"}
        assert all(pd.isna(row[name]) for name in more), (case, more)


def check_row(case: Case, row: pd.Series[Any]) -> bool:
    try:
        if case.kind == "end":
            expected = damage.expected_row(case.data, case.run)
        else:
            expected = damage.expected_spec_columns(damage.loaded(case.data), case.run)
    except Nonsense:
        expected = {"state": "broken"}
    if row["state"] == "broken":
        assert case.key in row["error"], (case, row["error"])
        assert row.filter(regex=r"^(params|metrics|costs)\.").isna().all(), case
        return True
    for name, value in expected.items():
        assert same(row.get(name), value), (case, name, row.get(name), value)
    for name in row.index:
        if name.startswith(("params.", "metrics.", "costs.", "eval_set.")):
            assert name in expected or pd.isna(row[name]), (case, name)
    return False


def check_step(case: Case, found: Read, row: pd.Series[Any], warned: bool) -> bool:
    steps = found.of("steps", case.run.id)
    if not len(steps):
        assert warned, case
        assert row["state"] == "broken", case
        assert case.key in row["error"], (case, row["error"])
        return True
    record = damage.loaded(case.data)
    assert row["state"] in ("running", "lost"), case
    assert same(row["started"], damage.moment(record["started"], "s")), case
    for name in steps.columns:
        value = record.get(name)
        if name in ("started", "ended", "beat"):
            value = damage.moment(value)
        if name == "name":
            value = row["name"]
        if name == "attempt" and "attempt" not in record:
            value = 1
        assert same(steps.iloc[0][name], value), (case, name)
    return False


def check_edit(case: Case, row: pd.Series[Any], warned: bool) -> bool:
    shown = [row["tags"], row["note"], row["archived"]]
    if warned:
        assert not shown[2], case
        assert all(map(pd.isna, shown[:2])), case
        return True
    record = damage.loaded(case.data)
    tags = set(record.get("tags_added", ())) - set(record.get("tags_removed", ()))
    assert same(shown[0], ", ".join(sorted(tags)) or None), case
    assert same(shown[1], record.get("note") or None), case
    assert bool(shown[2]) == bool(record.get("archived")), case
    return False


def read_messages(case: Case) -> list[dict[str, Any]]:
    """Return the content of a damaged table, read without rvlab."""
    if case.kind == "log.csv":
        return damage.expected_log_rows(case.data)
    schema, _ = TABLES[case.kind]
    try:
        table = pq.read_table(io.BytesIO(case.data), use_threads=False)
        rows = table.to_pylist()
    except Exception as exc:  # any error means that the file has no content
        raise Nonsense(repr(exc)) from exc
    names = table.column_names if case.kind == "history" else schema.names
    for name in NEW_COLUMNS.get(case.kind, ()):
        if name not in table.column_names:
            rows = [{**row, name: None} for row in rows]
    damage.require(len(set(table.column_names)) == len(table.column_names), "twice")
    known = {*table.column_names, *NEW_COLUMNS.get(case.kind, ())}
    damage.require(set(names) <= known, "missing")
    if case.kind == "history" and "epoch" not in names:
        return []  # a table of MLflow, of a run that logged no steps
    kinds = {"string": (str,), "double": (int, float)}
    for row in rows:
        for name in names:
            value = row[name]
            kind = str(schema.field(name).type) if name in schema.names else "double"
            damage.require(isinstance(value, (*kinds.get(kind, (int,)), type(None))), name)
            damage.require(not isinstance(value, bool), name)
            damage.require(value is not None or name not in NEEDED[case.kind], name)
            if kinds.get(kind) is None and value is not None:
                damage.require(value >= 0, name)
    return [{name: row[name] for name in names} for row in rows]


def same(found: Any, wanted: Any) -> bool:
    """Return whether a cell equals a value: true is not 1, and missing is not 0."""
    if isinstance(wanted, list | dict) or isinstance(found, list | dict):
        return False
    if wanted is None or pd.isna(wanted):
        return found is None or bool(pd.isna(found))
    if found is None or pd.isna(found):
        return False
    if isinstance(found, bool | np.bool_) != isinstance(wanted, bool | np.bool_):
        return False
    return bool(found == wanted)


def fuzz(folder: Path, cases: int, seed: int) -> int:
    """Check a number of damaged files, and return how many were broken."""
    broken = 0
    for start in range(0, cases, BATCH):
        rng = random.Random(f"{seed}-{start}")

        def damaged(store: Store, rng: random.Random = rng, start: int = start) -> list[Case]:
            number = min(BATCH, cases - start)
            runs = [damage.run_at(store, GOOD + i) for i in range(number)]
            weights = [6 if kind in ("end", "spec", "step") else 2 for kind in KINDS]
            kinds = rng.choices(KINDS, weights, k=number)
            return [damage.damaged(r, k, rng) for r, k in zip(runs, kinds, strict=True)]

        broken += check(folder / str(start), damaged)
    return broken


def test_500_damaged_records_are_broken_rows_or_show_their_content(tmp_path: Path) -> None:
    assert fuzz(tmp_path, 500, seed=1) > 100


@pytest.mark.extended
def test_10000_damaged_records_are_broken_rows_or_show_their_content(
    tmp_path: Path, figure: Callable[[str, object], None]
) -> None:
    broken = fuzz(tmp_path, 10_000, seed=2)
    figure("damaged records read", "10,000")
    figure("damaged records shown as broken or left out with a warning", f"{broken:,}")
    figure("damaged records: exceptions, wrong rows, good runs changed", "0, 0, 0")


TEXT = st.text(st.characters(), max_size=20)  # with halves of surrogate pairs
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
VALUES = st.recursive(
    PLAIN, lambda v: st.lists(v, max_size=3) | st.dictionaries(TEXT, v, max_size=3), max_leaves=6
)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    st.lists(
        st.tuples(st.sampled_from(("end", "spec", "step", "edit")), st.integers(0, 99), VALUES),
        min_size=10,
        max_size=30,
    )
)
def test_any_json_value_at_any_path_of_a_record_is_a_broken_row_or_shown(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, int, Any]]
) -> None:
    def damaged(store: Store) -> list[Case]:
        cases = []
        for number, (kind, place, value) in enumerate(changes):
            run = damage.run_at(store, GOOD + number)
            record = damage.json_of(run, kind)
            every = damage.paths(record)
            damage.put(record, every[place % len(every)], value)
            data = json.dumps(record).encode()
            cases.append(Case(run, kind, damage.key_of(run, kind), data))
        return cases

    check(tmp_path_factory.mktemp("any"), damaged)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"[" * 100_000, "is not whole JSON: recursion limit exceeded"),
        (b'{"spec": "\\ud800"}', "is not whole JSON"),
        (b'{"a": "' + b"a" * 100_000_000 + b'"}', "has 100,000,009 bytes; more than 8,388,608"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "is not whole JSON: number out of range"),
    ],
    ids=["deep", "surrogate", "100 MB", "digits"],
)
def test_invalid_json_is_one_broken_row(tmp_path: Path, data: bytes, why: str) -> None:
    store = Store(tmp_path)
    run = damage.run_at(store, 1)
    damage.write(store, damage.run_at(store, 0))
    damage.write(store, run, Case(run, "end", run.end_key, data))
    table = frame.runs_table(store, damage.EXPERIMENT)
    assert table["state"].tolist() == ["succeeded", "broken"]
    assert table.loc[run.id, "error"].startswith(f"{run.end_key} {why}")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"schema": True}, "has the schema True, not an integer"),
        ({"schema": 0}, "has the schema 0; the first is 1"),
        ({"metrics": {"f1": True}}, "has metrics that are not numbers: {'f1': True}"),
        ({"metrics": {"f1": "0.9"}}, "has metrics that are not numbers: {'f1': '0.9'}"),
        ({"metrics": {f"m{i}": 0 for i in range(6000)}}, "has metrics that are not numbers"),
        ({"ended": "99999-01-01T00:00:00Z"}, "has ended '99999-01-01T00:00:00Z', not a UTC time"),
        ({"started": "2026-11-23T15:42:01"}, "has started '2026-11-23T15:42:01', not a UTC time"),
        ({"spec": None}, "is not a run's spec: it is NoneType, not a JSON object"),
    ],
)
def test_value_of_another_type_is_named_in_the_error(
    tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    store = Store(tmp_path)
    run = Run(store.uri, damage.EXPERIMENT, "20261123-154201-000001")
    record = {**damage.json_of(run, "end"), **change}
    damage.write(store, run, Case(run, "end", run.end_key, json.dumps(record).encode()))
    row = frame.runs_table(store, damage.EXPERIMENT).loc[run.id]
    assert row["state"] == "broken"
    assert row["error"].startswith(f"{run.end_key} {why}")


@pytest.mark.parametrize("kind", ["end", "spec"])
def test_record_of_another_run_is_a_broken_row(tmp_path: Path, kind: str) -> None:
    store = Store(tmp_path)
    run, other = damage.run_at(store, 1), damage.run_at(store, 2)
    damage.write(store, run, Case(run, kind, damage.key_of(run, kind), damage.good(other, kind)))
    row = frame.runs_table(store, damage.EXPERIMENT).loc[run.id]
    assert row["state"] == "broken"
    assert f"is the record of another run, towns/{other.id}" in row["error"]


def test_changed_byte_in_a_page_of_a_table_is_detected(tmp_path: Path) -> None:
    store = Store(tmp_path)
    run = damage.run_at(store, 0)
    data = damage.good(run, "evals")
    table = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(4)
    where = table.data_page_offset + table.total_compressed_size - 3
    data = data[:where] + bytes([data[where] ^ 1]) + data[where + 1 :]
    damage.write(store, run, Case(run, "evals", damage.key_of(run, "evals"), data))
    with pytest.warns(UserWarning, match=rf"^The run {run.id} is left out of the table: "):
        assert frame.evals_table(store, [run]).empty
