"""S3 faults between rvlab and a real server, injected by a proxy."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rvlab import Lab
from rvlab.engines.job_queue import JobQueue
from rvlab.errors import KeyExists, KeyMissing, StoreError, StoreUnreachable
from rvlab.model import Run
from rvlab.recipes import Recipe
from rvlab.store import S3Access, Store, object_storage, patience, server
from rvlab.store.leftovers import leftovers
from rvlab.store.server import Server
from rvlab.submission import SubmitOptions, prepare_runs
from rvlab.worker.step_recorder import StepRecorder
from tests.faults.cheap_step import EPOCHS, SOURCE, CheapEngine
from tests.faults.proxy import FAULTS, Proxy

ROOT = Path(__file__).parent.parent.parent

Figure = Callable[[str, object], None]


@pytest.fixture
def proxy(s3: Server) -> Iterator[Proxy]:
    """Return a proxy without faults in front of the session's server."""
    with Proxy(s3.endpoint, stall_s=5).running() as proxy:
        yield proxy


def through(proxy: Proxy, s3: Server, folder: str) -> Store:
    """Return a store behind the proxy."""
    access = S3Access(proxy.endpoint, s3.access_key, s3.secret_key, region=s3.region)
    return Store(f"s3://{s3.bucket}/{folder}", access)


def directly(s3: Server, store: Store) -> Store:
    """Return the same store without the proxy."""
    return Store(store.uri, S3Access(s3.endpoint, s3.access_key, s3.secret_key, region=s3.region))


# One request

CONTENT = b"0123456789" * 100
"""The content of the key ``here`` before each call."""

SHORT_FAULTS = [one for one in FAULTS if "stall" not in one and one != "held"]
STALLS = [one for one in FAULTS if "stall" in one]


def get(store: Store) -> None:
    assert store.get("here") == CONTENT


def put(store: Store) -> None:
    store.put("put", b"new")


def create(store: Store) -> None:
    store.put("created", b"mine", if_absent=True)


def create_what_is_there(store: Store) -> None:
    with pytest.raises(KeyExists):
        store.put("here", b"mine", if_absent=True)


def files(store: Store) -> None:
    assert len(store.files("many")) == 20


def tags(store: Store) -> None:
    assert len(store.etags("many/")) == 20


def last_modified(store: Store) -> None:
    assert len(store.last_modified_by_key("many")) == 20


def delete(store: Store) -> None:
    store.delete(["gone"])


def missing(store: Store) -> None:
    with pytest.raises(KeyMissing):
        store.get("nowhere")


CALLS = [get, put, create, create_what_is_there, files, tags, last_modified, delete, missing]

AFTERWARDS = {get: ("here", CONTENT), put: ("put", b"new"), create: ("created", b"mine")}
"""A key and its content after a call."""


@pytest.mark.parametrize("call", CALLS, ids=lambda call: str(call.__name__))
@pytest.mark.parametrize("fault", SHORT_FAULTS)
def test_each_call_survives_each_fault(
    s3: Server,
    proxy: Proxy,
    fault: str,
    call: Callable[[Store], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check(s3, proxy, fault, call, 1, monkeypatch)


@pytest.mark.parametrize("call", [get, create, files, delete], ids=lambda c: str(c.__name__))
@pytest.mark.parametrize("fault", ["reset", "503_after", "cut"])
def test_each_call_survives_repeated_faults(
    s3: Server,
    proxy: Proxy,
    fault: str,
    call: Callable[[Store], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Inject a fault seven times, more often than obstore retries by itself."""
    check(s3, proxy, fault, call, 7, monkeypatch)


@pytest.mark.parametrize("call", [get, put, create, files, delete], ids=lambda c: str(c.__name__))
@pytest.mark.parametrize("fault", STALLS)
def test_each_call_survives_a_server_that_does_not_answer(
    s3: Server,
    proxy: Proxy,
    fault: str,
    call: Callable[[Store], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(object_storage, "S3_READ_TIMEOUT_S", 0.5)
    check(s3, proxy, fault, call, 1, monkeypatch)


def check(
    s3: Server,
    proxy: Proxy,
    fault: str,
    call: Callable[[Store], None],
    times: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Check that the call succeeds and has its effect although its first requests fail."""
    monkeypatch.setattr(patience, "LONGEST_PAUSE_S", 0.3)
    folder = f"calls-{fault}-{call.__name__}-{times}"
    store = through(proxy, s3, folder).with_patience(300)
    direct = directly(s3, store)
    direct.put("here", CONTENT)
    direct.put("gone", b"1")
    if call in (files, tags, last_modified):
        direct.map_concurrently(lambda key: direct.put(key, b"1"), [f"many/{n}" for n in range(20)])
    proxy.script(*[fault] * times)
    call(store)
    assert proxy.seen[fault] == times
    if call in AFTERWARDS:
        key, data = AFTERWARDS[call]
        assert direct.get(key) == data
    if call is create:  # the key has the content of this writer
        with pytest.raises(KeyExists):
            store.put("created", b"mine", if_absent=True)
    assert direct.exists("gone") is (call is not delete)


def test_permanent_error_is_not_retried(s3: Server, proxy: Proxy) -> None:
    wrong = S3Access(proxy.endpoint, s3.access_key, "a wrong secret", region=s3.region)
    refused = Store(f"s3://{s3.bucket}/once", wrong, patience_s=3600)
    nowhere = Store("s3://no-such-bucket/once", through(proxy, s3, "once").access, patience_s=3600)
    for call in (refused.files, lambda: refused.put("k", b"v"), lambda: nowhere.get("k")):
        before = sum(proxy.seen.values())
        with pytest.raises(StoreError) as caught:
            call()
        assert not isinstance(caught.value, StoreUnreachable)
        assert sum(proxy.seen.values()) == before + 1


def test_exactly_one_of_two_writers_creates_a_key_if_both_answers_are_lost(
    s3: Server, proxy: Proxy
) -> None:
    for race in range(5):
        stores = [through(proxy, s3, "race").with_patience(300) for _ in range(4)]
        proxy.script(*["reset_after"] * 4)
        won: list[int] = []

        def claim(store: Store, number: int, key: str, won: list[int]) -> None:
            try:
                store.put(key, f"writer {number}".encode(), if_absent=True)
            except KeyExists:
                return
            won.append(number)

        each = enumerate(stores)
        threads = [threading.Thread(target=claim, args=(s, n, f"{race}", won)) for n, s in each]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert directly(s3, stores[0]).get(f"{race}") == f"writer {won[0]}".encode()


def test_outage_and_its_end_are_logged_once(
    s3: Server, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(patience, "LOG_AFTER_S", 0.0)
    monkeypatch.setattr(patience, "LONGEST_PAUSE_S", 0.3)
    store = through(proxy, s3, "logged").with_patience(600)
    proxy.shares = {"503": 1.0}
    with caplog.at_level(logging.WARNING, "rvlab"):
        threads = [threading.Thread(target=store.put, args=(f"{n}", b"1")) for n in range(8)]
        for thread in threads:
            thread.start()
        while proxy.seen["503"] < 60:
            time.sleep(0.05)
        proxy.shares = {}
        for thread in threads:
            thread.join()
    starts = [text for text in caplog.messages if text.startswith("No answer from the store: ")]
    assert len(starts) == 1
    assert starts[0].endswith(
        "(HTTP status 503). Try again later. Trying again for up to 10 min 00 s."
    )
    assert sum("The store answers again, after" in text for text in caplog.messages) == 1
    assert len(store.files()) == 8


@pytest.mark.parametrize("held", ["the first record", "a heartbeat"])
def test_a_record_that_arrives_late_does_not_undo_a_later_one(
    s3: Server, proxy: Proxy, tmp_path: Path, held: str
) -> None:
    store = through(proxy, s3, f"late-{held[-4:]}").with_patience(300)
    run = Run(store.uri, "towns", "20261123-154201-4f2a9c")
    proxy.only = r"^PUT .*/steps/train"
    if held == "the first record":
        proxy.script("held")
    with StepRecorder(store, run, "train", scratch=tmp_path) as journal:
        if held == "a heartbeat":
            proxy.script(*["held"] * 9)
            with pytest.raises(StoreUnreachable):
                journal._write(store.with_patience(0))
            proxy.script()
    direct = directly(s3, store)
    assert direct.get_json(run.step_key("train"))["state"] == "succeeded"
    assert proxy.held
    proxy.deliver()
    assert direct.get_json(run.step_key("train"))["state"] == "succeeded"
    with StepRecorder(store, run, "train", scratch=tmp_path) as again:
        assert again.record.attempt == 2


# Submitting


RECIPE = Recipe("cheap", SOURCE)


def submit(store: Store, experiment: str, values: list[float]) -> list[Run]:
    return prepare_runs(
        store, RECIPE, [{"value": v} for v in values], SubmitOptions(experiment, "local")
    )


def test_failed_submission_leaves_no_keys(s3: Server, proxy: Proxy) -> None:
    store = through(proxy, s3, "midway")
    proxy.shares, proxy.only = {"503": 1.0}, r"^PUT .*/runs/active/"
    with pytest.raises(StoreUnreachable) as caught:
        submit(store, "towns", [1.0, 2.0, 3.0])
    said = str(caught.value)
    assert said.startswith("None of the 3 runs was submitted: The bucket ")
    assert said.endswith("The records that were written have been deleted.")
    assert [key for key, _ in directly(s3, store).files()] == ["rvlab.json"]


def test_remaining_keys_of_a_failed_submission_are_listed_and_cleaned(
    s3: Server, proxy: Proxy, lab_of: Callable[[Store], Lab]
) -> None:
    store = through(proxy, s3, "left-over")
    lab = lab_of(store)
    proxy.shares, proxy.only = {"reset": 1.0}, r"^PUT .*spec\.json|^POST|^DELETE"
    with pytest.raises(StoreUnreachable, match="cannot be deleted now: `rvlab clean` deletes them"):
        submit(store, "towns", [1.0])
    proxy.shares = {}
    (acknowledged,) = submit(store, "towns", [2.0])
    assert len(lab.runs("towns")) == 1
    assert lab.clean().empty, "it may be under way: it is not an hour old"
    table = lab.clean(older_than_s=0, dry_run=True)
    assert table[["experiment", "kind", "keys", "removed"]].to_numpy().tolist() == [
        ["towns", "unfinished submission", 1, False]
    ]
    assert lab.clean(older_than_s=0)["removed"].tolist() == [True]
    assert lab.clean(older_than_s=0).empty
    assert list(lab.runs("towns").index) == [acknowledged.id]
    assert store.exists(acknowledged.key("spec.json"))


# Waiting


def test_wait_continues_during_an_outage_of_the_store(
    s3: Server, proxy: Proxy, lab_of: Callable[[Store], Lab], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = through(proxy, s3, "waited-for")
    lab = lab_of(store)
    (run,) = submit(store, "towns", [1.0])
    shown: list[str] = []
    monkeypatch.setattr("tqdm.auto.tqdm.set_postfix_str", lambda _bar, text: shown.append(text))
    proxy.shares = {"reset": 1.0}
    waiting = threading.Thread(target=lambda: tables.append(lab.wait(run)))
    tables: list[Any] = []
    waiting.start()
    while not any(text.startswith("store cannot be reached for ") for text in shown):
        time.sleep(0.05)
    proxy.shares = {}
    lab.cancel(run)
    waiting.join()
    assert tables[0]["state"].tolist() == ["cancelled"]


def test_wait_raises_when_the_patience_is_over(
    s3: Server, proxy: Proxy, lab_of: Callable[[Store], Lab], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = through(proxy, s3, "given-up")
    lab = lab_of(store)
    (run,) = submit(store, "towns", [1.0])
    monkeypatch.setenv("RVLAB_PATIENCE_S", "2")
    proxy.shares = {"reset": 1.0}
    with pytest.raises(StoreUnreachable, match=r"has not answered for \d+ s\. The runs continue"):
        lab.wait(run, progress=False)


# Complete runs


@pytest.fixture
def lab_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Store], Lab]]:
    """Return a factory of labs whose local runs import this checkout, and end all runs."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("RVLAB_PATIENCE_S", "300")
    labs = []

    def make_lab(store: Store) -> Lab:
        labs.append(Lab(store, CheapEngine(max_parallel=12)))
        return labs[-1]

    yield make_lab
    for lab in labs:
        queue = JobQueue.for_store(lab.store)
        for file, _ in queue.waiting():
            queue.remove(file)
        while queue.running():
            time.sleep(0.1)


def all_succeed(
    lab: Lab, direct: Store, experiment: str, number: int, timeout_s: float = 500
) -> None:
    """Submit cheap runs, wait for them, and check for lost, wrong and remaining records."""
    values = [round((n + 1) / (number + 1), 6) for n in range(number)]
    runs = submit(lab.store, experiment, values)
    lab.engine.start(lab.store, runs)
    table = lab.wait(runs, progress=False, timeout_s=timeout_s)
    assert table["state"].tolist() == ["succeeded"] * number, table["error"].dropna().tolist()
    assert table["metrics.f1"].tolist() == values
    assert table["params.value"].tolist() == values
    queue = JobQueue.for_store(lab.store)
    while queue.running():
        time.sleep(0.1)
    assert leftovers(direct, older_than_s=0) == []
    assert sorted(run.id for run in runs) == direct.folders(f"{experiment}/")[:-1]
    for run in runs:
        assert len(direct.get(run.key("rv/train/log.csv")).splitlines()) == EPOCHS + 1
        assert b"summarized" in direct.get(run.log_key("summarize"))
        states = [direct.get_json(key)["state"] for key, _ in direct.files(run.key("steps"))]
        assert states == ["succeeded"] * 3


MIXED = {"reset": 0.04, "reset_after": 0.04, "503": 0.06, "503_after": 0.04, "cut": 0.08}


def test_runs_succeed_under_a_mixture_of_faults(
    s3: Server, proxy: Proxy, lab_of: Callable[[Store], Lab]
) -> None:
    proxy.shares = MIXED
    store = through(proxy, s3, "mixture")
    all_succeed(lab_of(store), directly(s3, store), "towns", 4)
    assert sum(proxy.seen.values()) > proxy.seen["passed"] > 0


ALL_FAULTS = {
    "reset": 0.1,
    "reset_after": 0.1,
    "503": 0.2,
    "503_after": 0.1,
    "cut": 0.2,
    "stall": 0.005,
    "stall_after": 0.005,
}
"""Shares of requests: 20 % resets, 30 % status 503, 20 % cut-off answers, 1 % stalls of 30 s."""

OUTAGES = [(10, 5), (30, 5), (50, 60), (70, 5)]
"""When the server is stopped, in runs that have ended, and for how many seconds."""


@pytest.mark.extended
@pytest.mark.timeout(3600)
def test_100_runs_survive_faults_and_restarts(
    tmp_path: Path, lab_of: Callable[[Store], Lab], figure: Figure
) -> None:
    """Run 100 runs while most requests fail, with four restarts of the server."""
    own = server.start_server(tmp_path / "s3")
    try:
        with Proxy(own.endpoint, stall_s=30).running() as proxy:
            store = through(proxy, own, "faults").with_patience(600)
            direct = directly(own, store).with_patience(600)
            proxy.shares = ALL_FAULTS
            restart = threading.Thread(target=restart_often, args=(tmp_path / "s3", direct, own))
            restart.start()
            try:
                all_succeed(lab_of(store), direct, "towns", 100, timeout_s=3000)
            finally:
                restart.join()
            requests = sum(proxy.seen.values())
            said = f"100 of 100 runs succeeded; {requests - proxy.seen['passed']} of {requests}"
            name = (
                "S3: 20 % resets, 30 % 503, 20 % cut-off answers, 1 % stalls of 30 s, four restarts"
            )
            figure(name, f"{said} requests failed")
    finally:
        server.stop_server(tmp_path / "s3")


def restart_often(folder: Path, direct: Store, before: Server) -> None:
    """Stop the server when enough runs have ended, and start it again some seconds later."""
    for ended, away_s in OUTAGES:
        while len(direct.files("towns/runs/ended")) < ended:
            time.sleep(0.2)
        server.stop_server(folder)
        time.sleep(away_s)
        assert server.start_server(folder).endpoint == before.endpoint
