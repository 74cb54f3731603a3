"""Valid sample runs, ways to damage a record, and an independent parser of the damaged bytes."""

from __future__ import annotations

import csv
import io
import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from rvlab.model import Run, Spec, StepRecord, end_record
from rvlab.model.annotation import Annotation
from rvlab.model.tables import FILE_TABLES, RUNS_TABLE
from rvlab.store import Store
from rvlab.store.table_file import arrow_schema

EXPERIMENT = "towns"
TABLES: dict[str, tuple[pa.Schema, list[dict[str, Any]]]] = {
    "evals": (
        arrow_schema(FILE_TABLES["evals"]),
        [
            {"group": "validation", "scene": s, "class": c, "metric": "f1", "value": v}
            for s, c, v in ((None, None, 0.5), (None, "road", None), ("town-1", "road", 0.25))
        ],
    ),
    "confusion": (
        arrow_schema(FILE_TABLES["confusion"]),
        [
            {"group": "validation", "scene": s, "truth": t, "prediction": "road", "count": 70_000}
            for s, t in ((None, "road"), ("town-1", "building"))
        ],
    ),
    "scenes": (
        arrow_schema(FILE_TABLES["scenes"]),
        [{"group": "validation", "scene": "town-1", "image": "a", "labels": "b", "aois": None}],
    ),
    "artifacts": (
        arrow_schema(FILE_TABLES["artifacts"]),
        [{"step": "train", "kind": "history", "key": "rv/train/log.csv", "bytes": 9}],
    ),
    "windows": (
        arrow_schema(FILE_TABLES["windows"]),
        [
            {"group": "validation", "scene": "town-1", "col": col, "row": 0, "class": "road"}
            | {"width": 64, "height": 64, "tp": 4000, "fp": 10, "fn": 96, "confident_fp": None}
            for col in (0, 64)
        ],
    ),
    "objects": (
        arrow_schema(FILE_TABLES["objects"]),
        [
            {"group": "validation", "scene": "town-1", "side": side, "class": "road", "col": 4}
            | {"row": 8, "width": 5, "height": 4, "area_px": 20.0, "area_m2": None, "score": score}
            | {"best_iou": 0.75, "center_col": 6.5, "center_row": 10.0, "edge_px": 4}
            | {"object": number, "partner": 1 - number, "matched_at": 0b111111}
            for number, (side, score) in enumerate((("truth", None), ("prediction", 0.5)))
        ],
    ),
    "boundaries": (
        arrow_schema(FILE_TABLES["boundaries"]),
        [
            {"group": "validation", "scene": "town-1", "class": name, "distance_px": 9}
            | {"truth_px": 70_000, "prediction_px": 60_000, "intersection_px": 50_000}
            for name in ("road", "building")
        ],
    ),
    "history": (
        pa.schema([("epoch", pa.int64()), ("train_loss", pa.float64())]),
        [{"epoch": 0, "train_loss": 1.5}, {"epoch": 1, "train_loss": None}],
    ),
}
LOG_CSV = (
    "epoch,train_loss,train_time,valid_time,avg_f1\n"
    "0,1.5,0:00:08.500000,0:00:01,0.25\n"
    "1,,1 day, 0:00:01,0:00:01,0.5\n"
).replace("1 day, 0:00:01", '"1 day, 0:00:01"')

KINDS = ("end", "spec", "step", "edit", "log.csv", *TABLES)


@dataclass(frozen=True)
class Case:
    """A damaged file of a run: its kind, key and content."""

    run: Run
    kind: str
    key: str
    data: bytes


def run_at(store: Store, number: int) -> Run:
    """Return a run of the store by number."""
    return Run(store.uri, EXPERIMENT, f"20261123-154201-{number:06x}")


def spec_of(run: Run) -> dict[str, Any]:
    """Return a spec as submit writes it."""
    params = {
        "lr": 0.1,
        "width": 4,
        "big": 2**60,
        "aug": True,
        "names": ["a", {"b": 1}],
        "no": None,
    }
    return Spec(
        experiment=run.experiment,
        run=run.id,
        name="lr=0.1",
        recipe="synthetic_town",
        source_sha256="0" * 64,
        params=params,
        places={"root_uri": "s3://b/x"},
        splits=2,
        seed=7,
        engine="local",
        created="2026-11-23T15:42:01.250+00:00",
        user="me@here",
        commit="abc",
        dirty=False,
        rvlab="0.1",
    ).record()


def json_of(run: Run, kind: str) -> dict[str, Any]:
    """Return a valid record of a kind."""
    started, ended = "2026-11-23T15:42:03.250+00:00", "2026-11-23T15:42:33.250+00:00"
    if kind == "spec":
        return spec_of(run)
    if kind == "step":
        last = {"host": "here", "pid": 9, "peak_mb": 3.5, "cpu_s": 1.0, "device": "cpu"}
        return StepRecord(
            step="train", state="succeeded", started=started, beat=ended, ended=ended, **last
        ).record()
    if kind == "edit":
        return Annotation(
            ended, "me@here", tags_added=("good", "fast"), note="why", archived=True
        ).record()
    return end_record(
        spec_of(run),
        "succeeded",
        ended,
        started=started,
        metrics={"f1": 0.5, "mean_iou": 0.25, "f1.road": 1},
        costs={"train_s": 20.5, "bytes": 12345},
        device="cpu",
        eval_sets={"validation": "v", "test": "t"},
    )


def key_of(run: Run, kind: str) -> str:
    """Return the key of a kind of file of a run."""
    keys = {
        "end": run.end_key,
        "spec": run.key("spec.json"),
        "step": run.step_key("train"),
        "edit": f"{run.experiment}/annotations/{run.id}/20261124-000000-000000-ffffff.json",
        "log.csv": run.key("rv", "train", "log.csv"),
    }
    return keys.get(kind) or run.key("tables", f"{kind}.parquet")


def parquet_of(table: pa.Table, **options: Any) -> bytes:
    """Return a table in the format of summarize."""
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd", write_page_checksum=True, **options)
    return out.getvalue()


def good(run: Run, kind: str) -> bytes:
    """Return the content of a valid file of a kind."""
    if kind == "log.csv":
        return LOG_CSV.encode()
    if kind in TABLES:
        schema, rows = TABLES[kind]
        return parquet_of(pa.Table.from_pylist(rows, schema=schema))
    return json.dumps(json_of(run, kind), indent=1).encode()


def write(store: Store, run: Run, case: Case | None = None) -> None:
    """Write a run with one damaged file; it is active if the file matters only to active runs."""
    going = case is not None and case.kind in ("spec", "step")
    kinds = ["spec", "step"] if going else ["end"]
    if case is None:
        kinds = ["end", "spec", "step", "edit", "log.csv", *TABLES]
    files = {key_of(run, kind): good(run, kind) for kind in kinds}
    if going:
        files[run.active_key] = b""
    if case is not None:
        files[case.key] = case.data
    for key, data in files.items():
        path = Path(store.uri, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


# Damage

VALUES: Sequence[Any] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 2**70, -(2**64), 10**400, 0.5, -0.0, 1e308),
    *(
        float("nan"),
        float("inf"),
        float("-inf"),
        "",
        "0.9",
        "NaN",
        "1e400",
        "true",
        "\x00",
        "a" * 9999,
    ),
    *("\ud800", "\udfff\ud800", "0000-01-01T00:00:00+00:00", "99999-01-01T00:00:00+00:00"),
    *("2026-11-23T15:42:01", "2026-02-30T00:00:00+00:00", "2026-11-23", "1600-01-01T00:00:00Z"),
    *("2026-11-23T15:42:01.5+05:30", "2500-01-01T00:00:00+00:00", "../../etc/passwd", "<script>"),
    *(
        [],
        {},
        [[]],
        {"": ""},
        {"a": {"b": [1, None]}},
        ["a", 5],
        [True],
        {"f1": "0.9"},
        {"f1": True},
    ),
)


def paths(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List the paths of all values in a JSON value."""
    found = [above] if above else []
    inner: Any = value.items() if isinstance(value, dict) else ()
    inner = enumerate(value) if isinstance(value, list) else inner
    return found + [path for name, one in inner for path in paths(one, (*above, name))]


def put(record: Any, path: Sequence[Any], value: Any) -> None:
    """Replace the value at a path."""
    for name in path[:-1]:
        record = record[name]
    record[path[-1]] = value


def damaged_json(data: bytes, rng: random.Random) -> bytes:
    """Return a record with one change."""
    record = json.loads(data)
    path = rng.choice(paths(record))
    how = rng.randrange(8)
    if how < 4:
        put(record, path, rng.choice(VALUES))
    elif how == 4:
        above = record
        for name in path[:-1]:
            above = above[name]
        if isinstance(above, dict):
            del above[path[-1]]
    elif how == 5:
        depth = rng.choice((150, 300, 5000, 100_000))
        put(record, path, "DEEP")
        return json.dumps(record).encode().replace(b'"DEEP"', b"[" * depth + b"]" * depth)
    elif how == 6:  # a duplicate key, the second time with another value
        name, value = json.dumps(str(path[0])), json.dumps(rng.choice(VALUES))
        return json.dumps(record).encode()[:-1] + f", {name}: {value}}}".encode()
    else:
        other = json.loads(data.replace(b"20261123-", b"20251123-"))
        put(record, path[:1], other[path[0]])
    return json.dumps(record).encode()


def damaged_bytes(data: bytes, rng: random.Random) -> bytes:
    """Return bytes that are flipped, truncated, duplicated or inserted."""
    where = rng.randrange(len(data))
    how = rng.randrange(5)
    if how == 0:
        return data[:where]
    if how == 1:
        return data[:where] + data[where // 2 :]
    if how == 2:
        return data[:where] + rng.randbytes(rng.choice((1, 8, 200))) + data[where:]
    flipped = bytearray(data)
    for _ in range(rng.choice((1, 1, 4))):
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
    return bytes(flipped)


def damaged_csv(data: bytes, rng: random.Random) -> bytes:
    """Return a log with a changed field, row or column."""
    rows = [line.split(",") for line in data.decode().splitlines()]
    row = rng.choice(rows)
    how = rng.randrange(6)
    odd = (
        "",
        "nan",
        "inf",
        "1e999",
        "1_0",
        " 1",
        "٣",
        "-1",
        '"',
        "x" * 200_000,
        "\x00",
        "\ud800"[:0],
    )
    if how < 3:
        row[rng.randrange(len(row))] = rng.choice(odd)
    elif how == 3:
        row.pop()
    elif how == 4:
        rows[0][rng.randrange(len(rows[0]))] = rng.choice(("epoch", "run", "", "train_time_s", "b"))
    else:
        rows.append(list(row))
    return "\n".join(map(",".join, rows)).encode() + rng.choice((b"\n", b""))


def damaged_parquet(data: bytes, rng: random.Random) -> bytes:
    """Return a table with a column of another type, name, order or content."""
    table = pq.read_table(io.BytesIO(data))
    i = rng.randrange(table.num_columns)
    name, column = table.column_names[i], table.column(i)
    how = rng.randrange(7)
    if how == 0:
        table = table.drop_columns([name])
    elif how == 1:
        table = table.rename_columns(
            [rng.choice(("x", "run", "", "epoch")) if n == name else n for n in table.column_names]
        )
    elif how == 2:
        table = table.append_column(name, column)
    elif how == 3:
        kinds = [pa.bool_(), pa.string(), pa.binary(), pa.float64(), pa.int8(), pa.timestamp("s")]
        kind = rng.choice(kinds)
        sample = {"bool": True, "string": "0.9", "binary": b"\xff\xfe", "double": 0.5, "int8": -3}
        values = [sample.get(str(kind), 0)] * len(table)
        table = table.set_column(i, name, pa.array(values, kind))
    elif how == 4:
        table = table.set_column(i, name, pa.nulls(len(table), column.type))
    elif how == 5:
        values = column.to_pylist()
        number = rng.choice((-1, 2**62, 0))
        if pa.types.is_floating(column.type):
            values = [rng.choice((float("nan"), float("inf"), -0.0, 1e300))] * len(values)
        elif pa.types.is_integer(column.type):
            column = pa.chunked_array([pa.array(values, pa.int64())])
            values = [number] * len(values)
        else:
            values = [rng.choice(("\x00", "<b>", "x" * 10_000))] * len(values)
        table = table.set_column(i, name, pa.array(values, column.type))
    else:
        table = pa.concat_tables([table, table])
    return parquet_of(table, **rng.choice(({}, {"use_dictionary": False}, {"version": "1.0"})))


def damaged(run: Run, kind: str, rng: random.Random) -> Case:
    """Damage one file of a run in a way that `rng` chooses."""
    data = good(run, kind)
    ways: dict[str, Callable[[bytes, random.Random], bytes]] = {"log.csv": damaged_csv}
    way = damaged_parquet if kind in TABLES else ways.get(kind, damaged_json)
    if rng.random() < 0.3:
        way = damaged_bytes
    return Case(run, kind, key_of(run, kind), way(data, rng))


# Content of a file, parsed without rvlab

SPEC_TYPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("experiment", "run", "name", "recipe", "source_sha256", "engine"), (str,)),
    **{"created": (str,), "splits": (int,), "seed": (int,), "params": (dict,), "places": (dict,)},
    **dict.fromkeys(("commit", "image", "sweep", "parent"), (str, type(None))),
    **{"dirty": (bool, type(None)), "user": (str,), "priority": (int,)},
    **{"kind": (str,)},
}
SPEC_DEFAULTS = {"user": "", "priority": 0, "kind": "training"}
"""Values of fields that older records lack."""


class Nonsense(Exception):
    """The bytes have no content that could be a row."""


def require(is_so: bool, what: str) -> None:
    if not is_so:
        raise Nonsense(what)


def loaded(data: bytes) -> dict[str, Any]:
    """Parse a JSON object."""
    try:
        record = json.loads(data.decode("utf-8"))
        json.dumps(record, ensure_ascii=False).encode()  # raises for lone surrogates
    except (ValueError, RecursionError) as exc:
        raise Nonsense(str(exc)[:80]) from exc
    require(isinstance(record, dict), "no object")
    return dict(record)


def moment(text: Any, unit: Literal["ns", "s"] = "ns") -> pd.Timestamp | None:
    if text is None:
        return None
    require(isinstance(text, str), "no time")
    try:
        found = pd.Timestamp(text)
    except (ValueError, OverflowError) as exc:
        raise Nonsense(str(exc)) from exc
    require(found is not pd.NaT and found.tzinfo is not None, "no time zone")
    return found.tz_convert("UTC").floor(unit)


def expected_spec_columns(record: Any, run: Run) -> dict[str, Any]:
    """Return the columns of a row that come from a spec."""
    require(isinstance(record, dict), "no spec")
    for name, kinds in SPEC_TYPES.items():
        needed = name not in ("commit", "image", "sweep", "parent", "dirty", *SPEC_DEFAULTS)
        require(name in record or not needed, f"{name} is missing")
        value = record.get(name, SPEC_DEFAULTS.get(name))
        require(isinstance(value, kinds), name)
        require(isinstance(value, bool) <= (bool in kinds), name)
        if isinstance(value, int) and not isinstance(value, bool):
            require(-(2**63) <= value < 2**63, name)
    require((record["experiment"], record["run"]) == (run.experiment, run.id), "another run")
    require(record.get("kind", "training") in ("training", "prediction"), "kind")
    row = {n: record.get(n) for n in SPEC_TYPES if n in RUNS_TABLE.dtypes}
    row |= {name: record.get(name, value) for name, value in SPEC_DEFAULTS.items()}
    row["created"] = moment(record["created"], "s")
    for name, value in record["params"].items():
        plain = json.dumps(value) if isinstance(value, list | dict) else value
        row[f"params.{name}"] = plain
    return row


def expected_row(data: bytes, run: Run) -> dict[str, Any]:
    """Return the row of an ended run."""
    record = loaded(data)
    row = expected_spec_columns(record.get("spec"), run)
    require(record.get("state") in ("succeeded", "failed", "cancelled"), "state")
    row["state"] = record["state"]
    for name in ("step", "error", "device", "eval_set"):
        require(isinstance(record.get(name), str | None), name)
        row[name] = record.get(name)
    row["epochs"] = epochs = record.get("epochs")
    require(epochs is None or (type(epochs) is int and 0 <= epochs < 2**63), "epochs")
    row["started"], row["ended"] = (moment(record.get(n), "s") for n in ("started", "ended"))
    for group, kinds in (("metrics", (int, float)), ("costs", (int, float)), ("eval_sets", (str,))):
        values = record.get(group) if record.get(group) is not None else {}
        require(isinstance(values, dict), group)
        for name, value in values.items():
            require(value is None or isinstance(value, kinds), name)
            require(not isinstance(value, bool), name)
            if kinds != (str,) and value is not None:
                require(abs(value) < 2**1023 or isinstance(value, float), name)
                require(math.isfinite(value), name)
                value = float(value)
            row[f"{group.replace('eval_sets', 'eval_set')}.{name}"] = value
    return row


def expected_log_rows(data: bytes) -> list[dict[str, Any]]:
    """Return the rows of a log."""
    text = data.decode(errors="replace")
    lines = csv.reader(io.StringIO(text[: text.rfind("\n") + 1], newline=""))
    try:
        rows = [line for line in lines if line]
    except csv.Error as exc:
        raise Nonsense(str(exc)) from exc
    if not rows:
        return []
    header = rows[0]
    require(len(set(header)) == len(header) and "epoch" in header, "header")
    found = []
    for fields in rows[1:]:
        require(len(fields) == len(header), "fields")
        row: dict[str, Any] = {}
        for name, field in zip(header, fields, strict=True):
            try:
                if name in ("train_time", "valid_time"):
                    value = None if not field else pd.Timedelta(field).total_seconds()
                    row[f"{name}_s"] = value
                else:
                    row[name] = int(field) if name == "epoch" else float(field) if field else None
            except ValueError as exc:
                raise Nonsense(str(exc)) from exc
        found.append(row)
    return found
