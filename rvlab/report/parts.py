"""Parts of a report that may fail: a damaged part becomes one sentence, and the page remains."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TypeVar

from rvlab.errors import RvlabError

_T = TypeVar("_T")


def try_part(what: str, make: Callable[[], _T]) -> _T | str:
    """Return the content of a part of a report, or a sentence that says why it is missing.

    Templates show a string in the place of rows or pairs as a sentence. The traceback of an
    unexpected error is printed on stderr.

    Args:
        what: The part's name at the start of a sentence, with ``could not be shown`` after it.
        make: A function that returns the content.
    """
    try:
        return make()
    except Exception as exc:  # noqa: BLE001  shown in the page
        return f"{what} could not be shown: {report_error(exc)}"


def report_error(exc: Exception) -> str:
    """Return the message of an error on one line, and print the traceback of an unexpected one.

    An error of another class than rvlab's own is unexpected, and is described with its class.
    """
    words = " ".join(str(exc).split()) or "no reason was given."
    if isinstance(exc, RvlabError):
        return words
    traceback.print_exception(exc)
    return f"{type(exc).__name__}: {words}"
