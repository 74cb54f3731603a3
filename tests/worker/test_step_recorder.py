"""What a step says of itself arrives, also at a store that is not always there."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

import pytest

from rvlab.errors import StoreUnreachable
from rvlab.model import Run
from rvlab.store import S3Access, Store, patience
from rvlab.store.objects import Objects
from rvlab.worker.masking import mask_bytes
from rvlab.worker.step_recorder import StepRecorder
from tests.worker.samples import made, record


class Flaky(Store):
    """A store that is away for the next few writes of keys that end in a certain way."""

    ending, times = "", 0

    @cached_property
    def _storage(self) -> Objects:
        storage = super()._storage
        put = storage.put

        def flaky(key: str, data: bytes, *, if_absent: bool = False) -> None:
            if key.endswith(self.ending) and self.times:
                self.times -= 1
                raise StoreUnreachable("The bucket 'b' cannot be reached.")
            put(key, data, if_absent=if_absent)

        storage.put = flaky  # type: ignore[method-assign]
        return storage


@pytest.fixture
def flaky(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Flaky, Run]:
    monkeypatch.setattr(patience, "FIRST_PAUSE_S", 0.01)
    store, run = made(tmp_path / "store")
    return Flaky(store.uri, patience_s=0.5), run


def work(store: Flaky, run: Run, scratch: Path, ending: str, times: int) -> None:
    with StepRecorder(store, run, "train", scratch=scratch):
        os.write(1, b"epoch 0\n")
        store.ending, store.times = ending, times


@pytest.mark.parametrize("ending", ["train.json", "train.log"])
def test_a_store_that_is_away_for_a_moment_is_asked_again(
    flaky: tuple[Flaky, Run], tmp_path: Path, ending: str
) -> None:
    store, run = flaky
    work(store, run, tmp_path, ending, times=2)
    assert record(store, run, "steps", "train.json")["state"] == "succeeded"
    assert store.get(run.log_key("train")) == b"epoch 0\n"


def test_a_log_that_is_not_stored_is_no_failure(
    flaky: tuple[Flaky, Run], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store, run = flaky
    work(store, run, tmp_path, "train.log", times=99)
    assert record(store, run, "steps", "train.json")["state"] == "succeeded"
    said = "rvlab: the log of train is not stored: The bucket 'b' cannot be reached."
    assert said in capfd.readouterr().err


def test_a_record_that_is_not_stored_is_raised(flaky: tuple[Flaky, Run], tmp_path: Path) -> None:
    store, run = flaky
    with pytest.raises(StoreUnreachable, match="cannot be reached"):
        work(store, run, tmp_path, "train.json", times=99)


def test_secrets_are_cleaned_out_of_what_is_stored_and_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MY_SECRET_ACCESS_KEY", "swordfish")
    store, run = made(tmp_path / "store")
    store = Store(store.uri, S3Access(None, "name", "open-sesame"))
    assert mask_bytes(b"open-sesame, swordfish!", store) == b"[secret], [secret]!"
    journal = StepRecorder(store, run, "train", scratch=tmp_path)
    with journal:
        os.write(1, b"one\nsword")
        journal._forward_output()
        os.write(1, b"fish open-sesame")
    assert capfd.readouterr().out == "one\n[secret] [secret]"
    assert store.get(run.log_key("train")) == b"one\n[secret] [secret]"


def test_nobody_has_to_listen(tmp_path: Path) -> None:
    """The reader of the process's output is gone, as when a terminal was closed."""
    store, run = made(tmp_path / "store")
    reader, writer = os.pipe()
    before = os.dup(1)
    os.dup2(writer, 1)
    os.close(writer)
    os.close(reader)
    try:
        with StepRecorder(store, run, "train", scratch=tmp_path):
            os.write(1, b"epoch 0\n")
    finally:
        os.dup2(before, 1)
        os.close(before)
    assert record(store, run, "steps", "train.json")["state"] == "succeeded"
    assert store.get(run.log_key("train")) == b"epoch 0\n"
