"""`Lab.logs`: the logs of ended and of running runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from rvlab import Lab
from rvlab.actions.follow import LogFollower, follow_log
from rvlab.errors import NotFound, SpecError, StoreUnreachable, WaitInterrupted
from rvlab.model import Run
from rvlab.store import Store
from tests.frame.samples import Made


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(Store(tmp_path / "store"))


def test_log_has_the_steps_in_order_and_progress_bars_once(made: Made) -> None:
    run, lab = made.ended(), Lab(made.store)
    made.store.put(run.log_key("train"), b"0%|  |\r50%|# |\r100%|##|\ntrained\n")
    made.store.put(run.log_key("configure"), b"configured\n")
    for split in range(2):
        made.store.put(run.log_key("predict", split), f"part {split}\n".encode())
    assert lab.logs(run, "train") == "100%|##|\ntrained\n"
    assert lab.logs(run).splitlines() == [
        *("── configure ──", "configured", "", "── train ──", "100%|##|", "trained", ""),
        *("── predict-0 ──", "part 0", "", "── predict-1 ──", "part 1"),
    ]
    assert lab.logs(run.id[-6:], "predict", tail=1) == "part 1"
    assert lab.logs(run, tail=2).splitlines() == ["── predict-1 ──", "part 1"]
    assert lab.logs(run, "train").heading == f"train of {run.prefix}"
    for tail in (0, -1, 1.5, True):
        with pytest.raises(SpecError, match="tail must be a positive number of lines, got"):
            lab.logs(run, tail=tail)  # type: ignore[arg-type]


class Writer:
    """Adds to the log of a run whenever its reader has printed something, then ends the run."""

    def __init__(self, made: Made, run: Run, *lines: tuple[str, bytes]) -> None:
        self.made, self.run, self.lines = made, run, list(lines)
        self.text = ""
        self.logs: dict[str, bytes] = {}

    def __call__(self, text: str) -> None:
        self.text += text
        if self.lines:
            step, added = self.lines.pop(0)
            self.logs[step] = self.logs.get(step, b"") + added
            self.made.store.put(self.run.log_key(step), self.logs[step])
            if not self.lines:
                self.made.end(self.run)


def test_follow_prints_each_line_once_until_the_run_ends(made: Made) -> None:
    run, lab = made.running(), Lab(made.store)
    writer = Writer(
        made,
        run,
        ("chip", b"chips\n"),
        ("train", b"epoch 1\n0%|  |\r50%|# |"),
        ("train", b"\r100%|##|\nepoch \xe2\x82"),
        ("train", b"\xac 2\n\x1b[31mno end of line"),
    )
    found = follow_log(made.store, lab.engine, run, None, every_s=0, write=writer)
    assert writer.text.splitlines() == [
        *("── chip ──", "chips", "── train ──", "epoch 1", "100%|##|", "epoch € 2"),
        "no end of line",
    ]
    assert found == lab.logs(run)


def test_follow_waits_for_a_step_that_has_not_started(made: Made) -> None:
    run, lab = made.running(), Lab(made.store)
    writer = Writer(made, run, ("chip", b"chips\n"), ("train", b"epoch 1\nepoch 2\n"))
    follow_log(made.store, lab.engine, run, "train", tail=1, every_s=0, write=writer)
    assert writer.text == "epoch 2\n"
    with pytest.raises(NotFound, match=r"has no log of 'eval'. It has: chip, train\."):
        follow_log(made.store, lab.engine, run, "eval", every_s=0, write=writer)


def test_follow_refuses_a_wrong_step_at_once(made: Made) -> None:
    run, lab = made.running(), Lab(made.store)
    with pytest.raises(NotFound, match=r"has no log of 'trian'. It has: none yet\."):
        lab.logs(run, "trian", follow=True)


def test_restarted_step_is_printed_from_its_beginning(made: Made) -> None:
    run = made.running()
    follower = LogFollower(made.store, run, "train", None)
    made.store.put(run.log_key("train"), b"the first attempt, long\n")
    assert follower.read() == "the first attempt, long\n"
    made.store.put(run.log_key("train"), b"again\n")
    assert follower.read() == "again\n"
    assert follower.read() == ""


class Flaky(Store):
    """A store that does not answer the next `failures` requests for the log of train."""

    failures = 0

    def get_range(self, key: str, start: int, length: int) -> bytes:
        if key.endswith("train.log") and self.failures:
            self.failures -= 1
            raise StoreUnreachable("no answer")
        return super().get_range(key, start, length)


def test_no_line_is_lost_when_a_later_log_cannot_be_read(made: Made) -> None:
    run, store = made.running(), Flaky(made.store.uri)
    follower = LogFollower(store, run, None, None)
    made.store.put(run.log_key("chip"), b"first\nsec")
    assert follower.read() == "── chip ──\nfirst\n"
    made.store.put(run.log_key("chip"), b"first\nsecond\n")
    made.store.put(run.log_key("train"), b"epoch 1\n")
    store.failures = 1
    with pytest.raises(StoreUnreachable):
        follower.read()
    assert follower.read() == "second\n── train ──\nepoch 1\n"


def test_interruption_of_follow_says_in_one_line_that_the_run_continues(made: Made) -> None:
    run, lab = made.running(), Lab(made.store)

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(WaitInterrupted, match=rf"^Interrupted: the run {run.id} continues\. lab"):
        follow_log(made.store, lab.engine, run, None, every_s=0, write=interrupt)


def test_follow_of_an_ended_run_prints_and_returns_its_log(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    run, lab = made.ended(), Lab(made.store)
    made.store.put(run.log_key("train"), b"trained\n")
    assert lab.logs(run, "train", follow=True) == "trained\n"
    assert capsys.readouterr().out == "trained\n"
