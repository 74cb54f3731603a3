"""Exceptions that rvlab raises.

RvlabError
├── SpecError (ValueError)           a recipe, a parameter or an argument that cannot be run
├── NotFound (LookupError)           an experiment, run, step or scene that does not exist
├── StoreError (OSError)             a request that the store refused
│   ├── StoreUnreachable (ConnectionError)   no answer from the store
│   │   └── StoreBusy                an answer that the store is overloaded or out of order
│   ├── KeyMissing (FileNotFoundError)       a key that does not exist
│   ├── KeyExists (FileExistsError)          a write-once key that already exists
│   ├── KeyChanged                   a key written by another process since it was read
│   └── RecordBroken (ValueError)            a key with invalid content
├── ServerError (RuntimeError)       a failure of the embedded S3 server
├── EngineError (RuntimeError)       a run that could not be started or stopped
│   └── HasEnded                     a run that has already ended
├── StepError (RuntimeError)         a step that failed or left an output missing
├── RasterError (OSError)            a raster or its labels cannot be read
├── WindowOutside (ValueError)       a window that does not intersect its raster
├── TableError (ValueError)          a table without a required column or row
├── GateNotPassed (ValueError)       a run that does not pass the gate of a promoted model
└── MissingExtra (ImportError)       a missing package that one of rvlab's extras installs

WaitInterrupted (KeyboardInterrupt)  a wait that the user has interrupted; not an RvlabError
"""

from __future__ import annotations

import difflib
import os
import sys
import traceback
from collections.abc import Iterable

from rvlab.synonyms import same_meaning

NEAR_CUTOFF = 0.6
"""Similarity from which `difflib` counts two words as near."""


DEBUG_VARIABLE = "RVLAB_DEBUG"
"""Environment variable that makes notebooks show the traceback of every error."""


class RvlabError(Exception):
    """The base class of all errors of rvlab.

    A notebook shows its message without the traceback. ``%tb`` in the next cell shows the
    traceback, and so does every error if the environment variable ``RVLAB_DEBUG`` is set.
    """

    _was_shown = False

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython shows; from the second time on, as for ``%tb``, all."""
        if self._was_shown or os.environ.get(DEBUG_VARIABLE):
            return _full_traceback(self)
        self._was_shown = True
        return [f"{type(self).__name__}: {self}"]


def _full_traceback(exc: BaseException) -> list[str]:
    """Return a traceback as IPython shows it, or Python's without IPython."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        return "".join(traceback.format_exception(exc)).splitlines()
    return list(
        shell.InteractiveTB.structured_traceback(type(exc), exc, exc.__traceback__, tb_offset=1)
    )


class SpecError(RvlabError, ValueError):
    """A recipe, a parameter or an argument that cannot be run."""


class NotFound(RvlabError, LookupError):
    """An experiment, run, step or scene that does not exist."""


class StoreError(RvlabError, OSError):
    """A request that the store refused."""


class StoreUnreachable(StoreError, ConnectionError):
    """No answer from the store."""


class StoreBusy(StoreUnreachable):
    """An answer that the store is overloaded or out of order, which may be permanent for a key."""


class KeyMissing(StoreError, FileNotFoundError):
    """A key that does not exist."""


class KeyExists(StoreError, FileExistsError):
    """A write-once key that already exists."""


class KeyChanged(StoreError):
    """A key written by another process since it was read."""


class RecordBroken(StoreError, ValueError):
    """A key with content that rvlab does not write."""


class ServerError(RvlabError, RuntimeError):
    """The embedded S3 server did not start, answer or stop."""


class EngineError(RvlabError, RuntimeError):
    """A run could not be started, watched or stopped."""


class HasEnded(EngineError):
    """A run that has already ended, so that it cannot be stopped."""


class StepError(RvlabError, RuntimeError):
    """A step that failed or left an output missing."""


class RasterError(RvlabError, OSError):
    """A raster or its labels cannot be read."""


class WindowOutside(RvlabError, ValueError):
    """A window that does not intersect its raster."""


class TableError(RvlabError, ValueError):
    """A table without a required column or row."""


class GateNotPassed(RvlabError, ValueError):
    """A run that does not pass the gate of a promoted model.

    Args:
        message: The message.
        verdict: The verdict of the gate, or ``not compared``.
    """

    def __init__(self, message: str, verdict: str) -> None:
        super().__init__(message)
        self.verdict = verdict

    def __reduce__(self) -> tuple[type[GateNotPassed], tuple[str, str]]:
        """Return what pickles the error with its verdict."""
        return type(self), (str(self), self.verdict)


class MissingExtra(RvlabError, ImportError):
    """A missing package that one of rvlab's extras installs."""


def did_you_mean(
    word: str, known: Iterable[str], *, many: int = 8, listing: str = "There are"
) -> str:
    """Suggest the valid words that mean the same as an invalid one, or are most similar to it.

    Args:
        word: The invalid word.
        known: The valid words.
        many: How many valid words to list when none is suggested.
        listing: The start of that list.

    Returns:
        ``Did you mean 'chip_px'?``; if no word is suggested, a list of the valid words.
    """
    words = sorted(set(known))
    if not words:
        return "There are none."
    near = same_meaning(word, words)[:3] or difflib.get_close_matches(
        word, words, n=3, cutoff=NEAR_CUTOFF
    )
    if near:
        return f"Did you mean {' or '.join(repr(w) for w in near)}?"
    shown = ", ".join(repr(w) for w in words[:many])
    more = f" and {len(words) - many} more" if len(words) > many else ""
    return f"{listing} {shown}{more}."


class WaitInterrupted(KeyboardInterrupt):
    """A wait that the user has interrupted; the runs continue.

    A notebook shows its message without the traceback.
    """

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython shows in place of a traceback."""
        return [str(self)]
