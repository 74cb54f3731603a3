"""Parts of a report that may fail: a damaged part becomes one sentence, and the page remains."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TypeVar

from rvlab.errors import RvlabError

_T = TypeVar("_T")


def try_part(what: str, make: Callable[[], _T]) -> _T | str:
    """Return the content of a part of a report, or a sentence that says why it is missing.

    Templates show a string in the place of rows or pairs as a sentence. The traceback is printed on
    stderr.

    Args:
        what: The part's name at the start of a sentence, with ``could not be shown`` after it.
        make: A function that returns the content.
    """
    try:
        return make()
    except Exception as exc:  # noqa: BLE001  shown in the page and on stderr
        traceback.print_exc()
        return f"{what} could not be shown: {describe_error(exc)}"


def describe_error(exc: Exception) -> str:
    """Return the message of an error on one line; with its class, unless it is rvlab's own."""
    words = " ".join(str(exc).split()) or "no reason was given."
    return words if isinstance(exc, RvlabError) else f"{type(exc).__name__}: {words}"
