"""Tests that records and logs of a step reach a store that is sometimes unreachable."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

import pytest

from rvlab.errors import StoreUnreachable
from rvlab.model import Run
from rvlab.store import S3Access, Store, patience
from rvlab.store.object_storage import ObjectStorage
from rvlab.worker.masking import mask_bytes
from rvlab.worker.step_recorder import StepRecorder
from tests.worker.samples import made, record


class Flaky(Store):
    """A store that is unreachable for the next `times` writes of keys with the suffix `ending`."""

    ending, times = "", 0

    @cached_property
    def _storage(self) -> ObjectStorage:
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
def test_write_to_an_unreachable_store_is_retried(
    flaky: tuple[Flaky, Run], tmp_path: Path, ending: str
) -> None:
    store, run = flaky
    work(store, run, tmp_path, ending, times=2)
    assert record(store, run, "steps", "train.json")["state"] == "succeeded"
    assert store.get(run.log_key("train")) == b"epoch 0\n"


def test_step_succeeds_when_its_log_cannot_be_stored(
    flaky: tuple[Flaky, Run], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store, run = flaky
    work(store, run, tmp_path, "train.log", times=99)
    assert record(store, run, "steps", "train.json")["state"] == "succeeded"
    said = "rvlab: the log of train is not stored: The bucket 'b' cannot be reached."
    assert said in capfd.readouterr().err


def test_step_record_that_cannot_be_stored_raises(flaky: tuple[Flaky, Run], tmp_path: Path) -> None:
    store, run = flaky
    with pytest.raises(StoreUnreachable, match="cannot be reached"):
        work(store, run, tmp_path, "train.json", times=99)


def test_secrets_are_masked_in_the_stored_and_the_forwarded_log(
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


def test_step_continues_when_the_reader_of_its_output_exits(tmp_path: Path) -> None:
    """The reader exits, as when a terminal is closed."""
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
