"""What is asked of a table: columns that are to be there, and words that are to be in them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rvlab.errors import TableError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd


def with_columns(table: pd.DataFrame, names: Iterable[str], what: str) -> pd.DataFrame:
    """The table, its named index levels as columns where one of them is asked for.

    Args:
        table: Left as it is.
        names: Columns that must be there.
        what: What the table is called in the message.

    Raises:
        TableError: If one is missing; it names the nearest.
    """
    wanted = list(names)
    levels = [n for n in table.index.names if n in wanted and n not in table.columns]
    out = table.reset_index(levels) if levels else table
    for name in wanted:
        if name not in out.columns:
            known = [str(c) for c in out.columns]
            raise TableError(f"The {what} has no column {name!r}. {did_you_mean(name, known)}")
    return out


def checked(word: str, known: Sequence[Any], what: str) -> None:
    """Whether a table has rows of that name.

    Args:
        word: What was asked for.
        known: What there is.
        what: The sentence's beginning, such as ``No run was evaluated on the group``.

    Raises:
        TableError: If it has none; it names the nearest.
    """
    words = [str(one) for one in known]
    if word not in words:
        raise TableError(f"{what} {word!r}. {did_you_mean(word, words)}")
