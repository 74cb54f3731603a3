"""Parsing of Raster Vision's training log, complete or while it is being written."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rvlab.errors import RecordBroken
from rvlab.model.train_log import parse_epochs, parse_seconds


@given(st.timedeltas(timedelta(0), timedelta(days=400)))
def test_printed_timedelta_is_parsed_to_seconds(time: timedelta) -> None:
    assert parse_seconds(str(time)) == pytest.approx(time.total_seconds(), abs=1e-6)


@pytest.mark.parametrize("text", ["", "8.5", "0:8", "-1 day, 0:00:01", "0:00:08.88 ", "1:2:3"])
def test_invalid_time_raises(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a time like '0:00:08\.88'"):
        parse_seconds(text)


values = st.none() | st.floats(allow_nan=False)


@given(st.lists(st.tuples(values, values), max_size=4), st.sampled_from(["\n", "\r\n"]))
def test_complete_rows_are_parsed_and_an_unfinished_row_is_ignored(
    rows: list[tuple[float | None, float | None]], newline: str
) -> None:
    def text(value: float | None) -> str:
        return "" if value is None else repr(value)

    lines = [f"{n},{text(a)},{text(b)}{newline}" for n, (a, b) in enumerate(rows)]
    log = f"epoch,train_loss,f1{newline}{''.join(lines)}"
    wanted = [{"epoch": n, "train_loss": a, "f1": b} for n, (a, b) in enumerate(rows)]
    assert parse_epochs(log) == wanted
    for end in range(len(log)):
        found = parse_epochs(log[:end])
        assert found == wanted[: len(found)]


@pytest.mark.parametrize("nothing", ["", "epoch,loss", "epoch,loss\n", "\n", "epoch,loss\n0,1"])
def test_log_without_a_complete_epoch_has_no_rows(nothing: str) -> None:
    assert parse_epochs(nothing) == []


def test_missing_epoch_is_broken() -> None:
    with pytest.raises(RecordBroken, match="row 1, column 'epoch' must be a number, got ''"):
        parse_epochs("epoch,loss\n,1\n")
