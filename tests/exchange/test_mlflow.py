"""Round trips of runs through a real MLflow database and server."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # MLflow reads it on import

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric

from rvlab import Lab
from rvlab.errors import MissingExtra, NotFound, SpecError, StoreError, StoreUnreachable
from rvlab.exchange.mlflow_encoding import format_param, key_safe_name, mlflow_names, parse_param
from rvlab.model import Run
from tests.frame.samples import Made

START = 1795449721123  # 2026-11-23 16:02:01.123 UTC

PARAMS: dict[str, Any] = {
    "lr": 0.001,
    "tiny": 1e-05,
    "huge": 10**20,
    "epochs": 8,
    "augment": True,
    "frozen": False,
    "weights": None,
    "bands": [1, 2, 3],
    "classes": {"building": "orange", "größe": [0.5, None]},
    "backbone": "resnet18",
    "zip": "007",
    "looks like a number": "0.5",
    "looks like a list": "[1, 2]",
    "quoted": '"x"',
    "empty": "",
}


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database, created once because that takes seconds, and copied per test."""
    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path.parent)  # older versions create mlruns in the working directory
        MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def uri(empty_database: Path, tmp_path: Path) -> str:
    """An MLflow database for one test."""
    (tmp_path / "mlflow.db").write_bytes(empty_database.read_bytes())
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture
def client(uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri=uri)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.chdir(tmp_path)
    return Lab(tmp_path / "store")


@pytest.fixture
def other(tmp_path: Path) -> Lab:
    """Another user's lab with its own store."""
    return Lab(tmp_path / "other")


@dataclass(frozen=True)
class Logged:
    """Logger of MLflow runs, like a user's training script."""

    client: MlflowClient

    def run(
        self,
        experiment: str = "towns",
        *,
        params: dict[str, str] | None = None,
        metrics: dict[str, list[float]] | None = None,
        tags: dict[str, str] | None = None,
        status: str | None = "FINISHED",
        start: int = START,
        name: str = "steady-owl-7",
    ) -> str:
        found = self.client.get_experiment_by_name(experiment)
        into = found.experiment_id if found else self.client.create_experiment(experiment)
        made = self.client.create_run(into, start_time=start, tags=tags or {}, run_name=name)
        run_id: str = made.info.run_id
        for key, text in (params or {}).items():
            self.client.log_param(run_id, key, text)
        points = [
            Metric(key, value, start + step, step)
            for key, values in (metrics or {}).items()
            for step, value in enumerate(values)
        ]
        self.client.log_batch(run_id, metrics=points)
        if status is not None:
            self.client.set_terminated(run_id, status, start + 30_000)
        return run_id


@pytest.fixture
def logged(client: MlflowClient) -> Logged:
    return Logged(client)


def history(lab: Lab, run: Run) -> pd.DataFrame:
    return pq.read_table(
        io.BytesIO(lab.store.get(run.key("tables", "history.parquet")))
    ).to_pandas()


def put_history(lab: Lab, run: Run, columns: dict[str, list[Any]]) -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    lab.store.put(run.key("tables", "history.parquet"), buffer.getvalue())


def records(lab: Lab) -> dict[str, bytes]:
    return {key: lab.store.get(key) for key, _ in lab.store.files()}


def test_imported_run_has_typed_parameters_metrics_and_times(
    lab: Lab, logged: Logged, uri: str
) -> None:
    logged.run(
        params={"lr": "0.001", "epochs": "8", "augment": "True", "arch": "resnet18", "w": "None"},
        metrics={"val/f1 macro": [0.5, 0.75], "size": [7.0], "loss": [1.0, float("nan")]},
        tags={
            "mlflow.user": "ada",
            "mlflow.source.name": "/home/ada/train_towns.py",
            "mlflow.source.git.commit": "abc123",
        },
    )
    (run,) = lab.from_mlflow(uri)
    row = lab.runs().loc[run.id]
    columns = ["name", "experiment", "state", "engine", "recipe", "seed", "commit", "user"]
    assert [row[name] for name in columns] == [
        *["steady-owl-7", "towns", "succeeded", "mlflow", "train_towns", 0, "abc123", "ada"]
    ]
    assert row["started"] == pd.Timestamp(START, unit="ms", tz="UTC").floor("s")
    assert row["duration"] == pd.Timedelta(seconds=30)
    assert run.id.startswith("20261123-160201-")
    params = lab.store.get_json(run.key("spec.json"))["params"]
    expected = {"arch": "resnet18", "augment": True, "epochs": 8, "lr": 0.001, "w": None}
    assert params == expected
    assert type(params["epochs"]) is int
    # JSON has no NaN, so a metric that ended in NaN is in the history only.
    assert row.filter(like="metrics.").to_dict() == {
        "metrics.size": 7.0,
        "metrics.val/f1 macro": 0.75,
    }
    table = history(lab, run)
    assert table.dtypes.astype(str).to_dict() == {
        "epoch": "int64",
        "loss": "float64",
        "val/f1 macro": "float64",
    }
    assert table["val/f1 macro"].tolist() == [0.5, 0.75]
    assert table["loss"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("0.001", 0.001), ("1e-05", 1e-05), ("-3", -3), ("8", 8), ("1" + 22 * "0", 10**22)],
        *[("True", True), ("false", False), ("None", None), ("null", None)],
        *[("[1, [2]]", [1, [2]]), ('{"a": "b"}', {"a": "b"}), ("resnet18", "resnet18")],
        *[(same, same) for same in ("007", "1e400", "nan", "inf", "-Infinity", "[NaN]", "[1e400]")],
        *[(same, same) for same in ("", " 5", "1_000", "(1, 2)", '"x"', '["\\ud800"]', "[" * 5000)],
    ],
)  # fmt: skip
def test_parameter_is_parsed_from_its_text(text: str, value: object) -> None:
    assert parse_param(text) == value
    assert type(parse_param(text)) is type(value)


@pytest.mark.parametrize("value", PARAMS.values(), ids=PARAMS.keys())
def test_parameter_survives_a_round_trip(value: object) -> None:
    assert parse_param(format_param(value), quoted=True) == value
    assert type(parse_param(format_param(value), quoted=True)) is type(value)


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("my towns (2)", "my-towns--2-"),
        ("/Users/ada/x", "Users-ada-x"),
        ("_x", "x"),
        ("日本", "mlflow"),
    ],
)
def test_experiment_name_is_converted_to_a_valid_key(name: str, taken: str) -> None:
    assert key_safe_name(name) == taken


def test_second_import_returns_the_same_runs_and_writes_nothing(
    lab: Lab, logged: Logged, uri: str
) -> None:
    logged.run("my towns", metrics={"loss": [1.0, 0.5]}, tags={"team": "roads"})
    logged.run("other", start=START - 5000, status="FAILED")
    first = lab.from_mlflow(uri)
    before = records(lab)
    assert lab.from_mlflow(uri) == first
    assert records(lab) == before
    assert [run.experiment for run in first] == ["other", "my-towns"]  # oldest first
    assert lab.from_mlflow(uri, experiments=["my towns"], experiment="mine")[0].id == first[1].id


def test_interrupted_import_is_completed(
    lab: Lab, logged: Logged, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged.run(metrics={"loss": [1.0, 0.5]}, tags={"team": "roads"})
    with monkeypatch.context() as patch:
        patch.setattr("rvlab.exchange.from_mlflow.end_record", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            lab.from_mlflow(uri)
    assert lab.runs().empty
    (run,) = lab.from_mlflow(uri)
    row = lab.runs().loc[run.id]
    assert (row["state"], row["tags"], row["metrics.loss"]) == ("succeeded", "team=roads", 0.5)
    assert len(lab.store.files(f"{run.experiment}/annotations/")) == 1


def test_states_are_converted_and_active_or_deleted_runs_are_left_out(
    lab: Lab, logged: Logged, client: MlflowClient, uri: str
) -> None:
    for number, status in enumerate(["FINISHED", "FAILED", "KILLED", None, None]):
        logged.run(status=status, start=START + 1000 * number)
    client.delete_run(logged.run())
    logged.run("deleted")
    client.delete_experiment(client.get_experiment_by_name("deleted").experiment_id)
    with pytest.warns(UserWarning, match="2 of MLflow's runs have not ended and are left out"):
        runs = lab.from_mlflow(uri)
    assert lab.runs(runs)["state"].tolist() == ["succeeded", "failed", "cancelled"]


def test_imported_child_run_has_its_parent(lab: Lab, logged: Logged, uri: str) -> None:
    parent = logged.run("parents")
    logged.run(start=START + 1000, tags={"mlflow.parentRunId": parent})
    logged.run(start=START + 2000, tags={"mlflow.parentRunId": "0" * 32})
    child, orphan = lab.from_mlflow(uri, experiments="towns")
    assert lab.runs().loc[orphan.id, "parent"] is pd.NA
    (imported,) = lab.from_mlflow(uri, experiments="parents")
    assert lab.runs().loc[child.id, "parent"] == imported.id


def test_tags_and_note_are_imported_as_the_first_annotation(
    lab: Lab, logged: Logged, uri: str
) -> None:
    tags = {"team": "roads", "long": "x" * 200, "mlflow.note.content": "Rerun.\nBetter data."}
    logged.run(tags=tags)
    (run,) = lab.from_mlflow(uri)
    row = lab.runs().loc[run.id]
    assert row["tags"] == f"long={'x' * 95}, team=roads"
    assert row["note"] == "Rerun.\nBetter data."
    lab.tag(run, "good", remove="team=roads")
    lab.from_mlflow(uri)
    assert lab.runs().loc[run.id, "tags"] == f"good, long={'x' * 95}"


def log_points(logged: Logged, points: dict[str, list[tuple[int, float, int]]]) -> None:
    """Log a run with points of (milliseconds after the start, value, step)."""
    run_id = logged.run(status=None)
    made = [Metric(k, v, START + ms, step) for k, of in points.items() for ms, v, step in of]
    logged.client.log_batch(run_id, metrics=made)
    logged.client.set_terminated(run_id, "FINISHED", START + 30_000)


def test_metrics_without_steps_keep_their_curve_in_order_of_time(
    lab: Lab, logged: Logged, uri: str
) -> None:
    """``mlflow.log_metric("loss", x)`` gives every value the step 0."""
    losses = [3.0, 1.0, 2.0, 0.5]
    log_points(
        logged,
        {
            "loss": [(1000 * i, loss, 0) for i, loss in enumerate(losses)],
            "f1": [(1000 * i + 7, i / 4, 0) for i in range(4)],
            "final": [(4000, 0.9, 0)],
        },
    )
    (run,) = lab.from_mlflow(uri)
    table = history(lab, run)
    assert table.columns.tolist() == ["epoch", "f1", "loss"]
    assert table["epoch"].tolist() == [0, 1, 2, 3]
    assert table["loss"].tolist() == losses
    assert table["f1"].tolist() == [0.0, 0.25, 0.5, 0.75]
    assert lab.runs().loc[run.id, "metrics.loss"] == 0.5


@pytest.mark.parametrize("with_steps", [True, False])
def test_rarer_metric_without_steps_is_placed_at_the_nearest_time(
    lab: Lab, logged: Logged, uri: str, with_steps: bool
) -> None:
    log_points(
        logged,
        {
            "loss": [(1000 * i, 9.0 - i, 10 * i if with_steps else 0) for i in range(6)],
            "val": [(1900, 0.25, 0), (4100, 0.5, 0)],
        },
    )
    table = history(lab, lab.from_mlflow(uri)[0])
    scale = 10 if with_steps else 1
    assert table["epoch"].tolist() == [scale * i for i in range(6)]
    assert table["loss"].tolist() == [9.0, 8.0, 7.0, 6.0, 5.0, 4.0]
    val = table.set_index("epoch")["val"].dropna()
    assert val.to_dict() == {2 * scale: 0.25, 4 * scale: 0.5}


def test_values_without_steps_at_one_time_are_numbered(lab: Lab, logged: Logged, uri: str) -> None:
    log_points(
        logged,
        {
            "loss": [(0, 3.0, 0), (9000, 2.0, 1), (9500, 1.0, 2)],
            "rate": [(8999, 0.1, 0), (9000, 0.2, 0)],
        },
    )
    table = history(lab, lab.from_mlflow(uri)[0])
    assert table["rate"].dropna().tolist() == [0.1, 0.2]


def test_metric_named_epoch_does_not_replace_the_steps(lab: Lab, logged: Logged, uri: str) -> None:
    logged.run(metrics={"epoch": [0.0, 0.0, 1.0], "rate": [3.0, 2.0], "high": [1.0, float("inf")]})
    (run,) = lab.from_mlflow(uri)
    table = history(lab, run)
    assert table.columns.tolist() == ["epoch", "metric.epoch", "high", "rate"]
    assert table["epoch"].tolist() == [0, 1, 2]
    assert table["high"].tolist()[1] == float("inf")
    assert "metrics.high" not in lab.runs()


def round_trip(lab: Lab, other: Lab, uri: str) -> None:
    """Send three runs through MLflow into another lab's store and compare the tables."""
    made = Made(lab.store)
    metrics = {"f1": 0.75, "f1.building": 0.5, "mean_iou": 0.25}
    first = made.ended(PARAMS, metrics, seed=3, sweep="s1", commit="abc", name="lr=0.001")
    put_history(
        lab,
        first,
        {"epoch": [0, 1, 2], "train_loss": [2.0, 1.0, None], "building_f1": [0.0, 0.25, 0.5]},
    )
    second = made.ended({"lr": 1.0}, {}, state="failed", error="It broke.", parent=first.id)
    put_history(lab, second, {"epoch": [0], "train_loss": [9.0]})
    third = made.ended({"lr": 2.0}, {"f1": 0.5}, state="cancelled")
    lab.tag(first, "baseline", "good, really")
    lab.note(first, "Keep this one.")

    sent = lab.to_mlflow(tracking_uri=uri)
    assert sent.index.tolist() == [first.id, second.id, third.id]
    assert sent["sent"].tolist() == [True, True, True]
    runs = other.from_mlflow(uri)
    assert [run.experiment for run in runs] == ["towns"] * 3
    was, now = lab.runs(), other.runs(runs)
    same = ["name", "state", "started", "ended", "duration", "recipe", "seed", "user", "sweep"]
    same += ["commit", "tags", "note", *was.filter(regex=r"^(params|metrics)\.").columns]
    assert set(was.filter(regex=r"^metrics\.")) == set(now.filter(regex=r"^metrics\."))
    pd.testing.assert_frame_equal(
        was[same].reset_index(drop=True), now[same].reset_index(drop=True)
    )
    assert now["parent"].fillna("").tolist() == ["", runs[0].id, ""]
    assert other.store.get_json(runs[0].key("spec.json"))["params"] == PARAMS
    for before, after in zip([first, second], runs, strict=False):
        pd.testing.assert_frame_equal(history(lab, before), history(other, after), check_like=True)
    assert len(other.history(runs)) == 4

    again = lab.to_mlflow(tracking_uri=uri)
    assert again["mlflow_run"].tolist() == sent["mlflow_run"].tolist()
    assert not again["sent"].any()
    assert lab.from_mlflow(uri) == []  # all runs are still in this store
    back = other.to_mlflow(tracking_uri=uri)  # MLflow already has them
    assert back["mlflow_run"].tolist() == sent["mlflow_run"].tolist()
    assert not back["sent"].any()


def test_runs_survive_a_round_trip_through_a_database(lab: Lab, other: Lab, uri: str) -> None:
    before = mlflow.get_tracking_uri()
    round_trip(lab, other, uri)
    assert (mlflow.get_tracking_uri(), mlflow.active_run()) == (before, None)


@pytest.fixture(scope="module")
def server(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server in its own process group."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "server.db").write_bytes(empty_database.read_bytes())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    args = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    args += ["--backend-store-uri", f"sqlite:///{folder}/server.db"]
    args += ["--default-artifact-root", str(folder / "artifacts")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *args],
            stdout=log, stderr=log, cwd=folder, start_new_session=True,
        )  # fmt: skip
    try:
        while True:
            assert process.poll() is None, (folder / "log").read_text()
            try:
                urllib.request.urlopen(f"{address}/health", timeout=60).close()  # noqa: S310  http
                break
            except OSError:
                time.sleep(0.2)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)


def test_runs_survive_a_round_trip_through_a_server(lab: Lab, other: Lab, server: str) -> None:
    round_trip(lab, other, server)


def test_unreachable_server_raises_quickly(lab: Lab) -> None:
    Made(lab.store).ended()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = time.monotonic()
    for scheme in ("http", "postgresql"):
        dead = f"{scheme}://ada:hush@127.0.0.1:{port}"
        for call in (lab.from_mlflow, lambda uri: lab.to_mlflow(tracking_uri=uri)):
            with pytest.raises(StoreUnreachable, match="MLflow does not answer at") as caught:
                call(dead)
            assert "hush" not in str(caught.value)
            assert caught.value.__cause__ is None  # it would show the password
    assert time.monotonic() - start < 120  # the client alone would retry for longer


def test_error_names_a_missing_database_driver(lab: Lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as there:
        address = f"postgresql+psycopg://ada:hush@127.0.0.1:{there.getsockname()[1]}/x"
        with pytest.raises(
            MissingExtra, match=r"cannot reach postgresql.* No module named"
        ) as caught:
            lab.from_mlflow(address)
    assert "hush" not in str(caught.value)


def test_errors_of_mlflow_are_translated_to_one_sentence(
    lab: Lab, uri: str, tmp_path: Path
) -> None:
    (tmp_path / "bad.db").write_text("This is no database, and long enough to be looked at.")
    with pytest.raises(NotFound, match=r"The MLflow database .*none\.db"):
        lab.from_mlflow(f"sqlite:///{tmp_path}/none.db")
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(StoreError, match=r"bad\.db refused: .* file is not a database"):
        lab.from_mlflow(f"sqlite:///{tmp_path}/bad.db")
    MlflowClient(tracking_uri=uri).create_experiment("towns")
    with pytest.raises(NotFound, match=r"no experiment 'twons' .* Did you mean 'towns'"):
        lab.from_mlflow(uri, experiments=["twons"])
    with pytest.raises(SpecError, match="'a/b' is not a valid experiment name"):
        lab.from_mlflow(uri, experiment="a/b")
    with pytest.raises(StoreError, match="nonsense://x refused"):
        lab.from_mlflow("nonsense://x")


def test_default_tracking_uri_is_that_of_mlflow(
    lab: Lab, logged: Logged, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged.run()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert len(lab.from_mlflow()) == 1


def test_error_names_the_extra_if_mlflow_is_missing(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MissingExtra, match=r"pip install 'rvlab\[mlflow\]'"):
        lab.from_mlflow("sqlite:///x.db")
    with pytest.raises(MissingExtra, match=r"pip install 'rvlab\[mlflow\]'"):
        lab.to_mlflow(tracking_uri="sqlite:///x.db")


def test_copy_in_mlflow_has_the_fields_and_the_uri_of_the_run(
    lab: Lab, client: MlflowClient, uri: str
) -> None:
    made = Made(lab.store)
    parent = made.ended({"lr": 0.5}, {"f1": 0.5}, commit="abc", sweep="s1")
    child = made.ended(parent=parent.id)
    sent = lab.to_mlflow("towns", uri, experiment="shared")
    copy = client.get_run(sent.loc[parent.id, "mlflow_run"])
    assert client.get_experiment(copy.info.experiment_id).name == "shared"
    assert copy.data.params == {"lr": "0.5"}
    assert copy.data.metrics == {"f1": 0.5}
    assert (copy.info.status, copy.info.run_name) == ("FINISHED", "run 0")
    row = lab.runs().loc[parent.id]
    assert copy.info.start_time == row["started"].value // 10**6
    assert copy.info.end_time == row["ended"].value // 10**6
    assert copy.data.tags == {
        "mlflow.runName": "run 0",
        "mlflow.user": "me@here",
        "mlflow.source.git.commit": "abc",
        "rvlab.uri": parent.uri,
        "rvlab.run": parent.id,
        "rvlab.recipe": "synthetic_town",
        "rvlab.seed": "0",
        "rvlab.sweep": "s1",
    }
    tags = client.get_run(sent.loc[child.id, "mlflow_run"]).data.tags
    assert tags["mlflow.parentRunId"] == copy.info.run_id
    assert tags["rvlab.parent"] == parent.id


def test_interrupted_copy_is_completed_and_not_duplicated(
    lab: Lab, client: MlflowClient, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Made(lab.store).ended({"lr": 0.5}, {"f1": 0.5})
    put_history(lab, run, {"epoch": list(range(2500)), "loss": [float(i) for i in range(2500)]})
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_terminated", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            lab.to_mlflow(run, uri)
    sent = lab.to_mlflow(run, uri)
    found = client.search_runs([client.get_experiment_by_name("towns").experiment_id])
    assert [one.info.run_id for one in found] == sent["mlflow_run"].tolist()
    assert found[0].info.status == "FINISHED"
    assert len(client.get_metric_history(found[0].info.run_id, "loss")) == 2500
    assert found[0].data.metrics == {"f1": 0.5, "loss": 2499.0}


def test_sparse_history_remains_sparse(lab: Lab, client: MlflowClient, uri: str) -> None:
    """A metric of every tenth step has no value at the others."""
    run = Made(lab.store).ended(metrics={"val": 0.5})
    put_history(lab, run, {"epoch": [0, 1, 2], "val": [0.25, 0.5, None], "loss": [3.0, 2.0, 1.0]})
    copy = lab.to_mlflow(run, uri).loc[run.id, "mlflow_run"]
    assert [(p.step, p.value) for p in client.get_metric_history(copy, "val")] == [
        (0, 0.25),
        (1, 0.5),
    ]


def test_active_runs_are_left_out_and_counted(lab: Lab, uri: str) -> None:
    made = Made(lab.store)
    run = made.ended()
    made.running()
    made.queued()
    with pytest.warns(UserWarning, match="2 of 3 runs have not ended"):
        sent = lab.to_mlflow(tracking_uri=uri)
    assert sent.index.tolist() == [run.id]


def test_export_of_an_empty_store_sends_nothing(lab: Lab, uri: str) -> None:
    sent = lab.to_mlflow(tracking_uri=uri)
    assert sent.empty
    assert sent.dtypes.astype(str).to_dict() == {"mlflow_run": "string", "sent": "bool"}


def test_long_parameter_is_truncated_with_a_warning(
    lab: Lab, client: MlflowClient, uri: str
) -> None:
    run = Made(lab.store).ended({"notes": "x" * 7000})
    with pytest.warns(UserWarning, match="longer than the 6000 characters .* truncated: notes"):
        sent = lab.to_mlflow(run, uri)
    copy = client.get_run(sent.loc[run.id, "mlflow_run"])
    assert copy.data.params == {"notes": "x" * 6000}


def test_names_are_converted_to_names_that_mlflow_accepts(
    lab: Lab, client: MlflowClient, uri: str
) -> None:
    names = ["f1.a (b)", "f1.a [b]", "a//b", "../a", ".", "/", "a:b", "größe m²", "x" * 300, "f1"]
    assert mlflow_names(names) == {
        "f1.a (b)": "f1.a _b_",
        "f1.a [b]": "f1.a _b__2",
        "a//b": "a__b",
        "../a": "__a",
        ".": "_",
        "/": "__2",
        "a:b": "a_b",
        "größe m²": "größe m²",
        "x" * 300: "x" * 245,
        "f1": "f1",
    }
    run = Made(lab.store).ended(dict.fromkeys(names, 1), dict.fromkeys(names, 0.5))
    sent = lab.to_mlflow(run, uri)
    copy = client.get_run(sent.loc[run.id, "mlflow_run"])
    assert set(copy.data.metrics) == set(copy.data.params) == set(mlflow_names(names).values())


def test_export_to_a_deleted_mlflow_experiment_raises(
    lab: Lab, client: MlflowClient, uri: str
) -> None:
    run = Made(lab.store).ended()
    client.delete_experiment(client.create_experiment("towns"))
    with pytest.raises(StoreError, match=r"MLflow's experiment 'towns' was deleted. Restore it"):
        lab.to_mlflow(run, uri)


def test_copy_deleted_in_mlflow_is_sent_again(
    lab: Lab, other: Lab, client: MlflowClient, uri: str
) -> None:
    run = Made(lab.store).ended()
    first = lab.to_mlflow(run, uri).loc[run.id, "mlflow_run"]
    client.delete_run(first)
    assert lab.to_mlflow(run, uri).loc[run.id].tolist() != [first, False]
    lab.delete(run, confirm=run.id)  # a deleted run is imported again
    (back,) = lab.from_mlflow(uri)
    assert lab.runs().loc[back.id, "recipe"] == "synthetic_town"
