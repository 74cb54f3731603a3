"""What every plot and every comparison does with runs, in whatever form they are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from rvlab.errors import RvlabError, SpecError, TableError
from rvlab.model import Run, Sweep

Call = Callable[[Any], Any]


def forms_of_runs(board: pd.DataFrame) -> dict[str, Any]:
    """Return the same runs in each form in which a user may have them."""
    runs = [Run.from_uri(uri) for uri in board["uri"]]
    rows = [board.iloc[i] for i in range(len(board))]
    forms = {
        "table": board,
        "table with the ids as a column": board.reset_index(),
        "table with the ids twice": board.assign(run=board.index),
        "table with names as its index": board.set_index("name", drop=False),
        "table with row numbers as its index": board.reset_index(drop=True),
        "column of URIs": board["uri"],
        "list of runs": runs,
        "sweep": Sweep(runs),
        "tuple of URIs": tuple(board["uri"]),
        "list of rows": rows,
        "list of tables": [board.iloc[:1], board.iloc[1:]] if len(board) > 1 else [board],
        "list of all kinds": [rows[0], *runs[1:2], *board["uri"].iloc[2:]],
    }
    if len(board) == 1:
        forms |= {"row": rows[0], "run": runs[0], "URI": runs[0].uri}
    return forms


def assert_same_result(call: Call, board: pd.DataFrame, content: Call) -> None:
    """Assert that a call has the same result for each form of the runs."""
    wanted = content(call(board))
    for form, runs in forms_of_runs(board).items():
        found = content(call(runs))
        if isinstance(wanted, pd.DataFrame):
            pd.testing.assert_frame_equal(found, wanted, obj=form)
        else:
            assert found == wanted, form


def assert_refuses_what_are_not_runs(call: Call, board: pd.DataFrame) -> None:
    """Assert that a call refuses names, nothing, other tables and other values in one sentence."""
    run = Run.from_uri(board["uri"].iloc[0])
    for name in (run.id, run.experiment, f"{run.experiment}/{run.id}"):
        for runs in (name, [name]):
            message = refusal(call, runs, SpecError)
            assert (
                f"{name!r} is a name that only a lab can find: pass lab.runs({name!r})" in message
            )
    for nothing in ([], (), Sweep(), board.iloc[:0]):
        assert "There are no runs" in refusal(call, nothing, SpecError)
    assert "pass lab.runs(" in refusal(call, pd.DataFrame({"a": [1], "b": ["x"]}), TableError)
    for other in (42, None, [42]):
        assert "is not a run: pass a table of runs" in refusal(call, other, SpecError)


def refusal(call: Call, runs: Any, error: type[RvlabError]) -> str:
    """Return the message of an error, which is one sentence."""
    with pytest.raises(error) as caught:
        call(runs)
    message = str(caught.value)
    assert message.endswith(".")
    assert ". " not in message
    return message
