"""Everything that rvlab raises.

RvlabError
├── SpecError (ValueError)           a recipe, a parameter or an argument that cannot be run
├── NotFound (LookupError)           an experiment, a run, a step or a scene nobody knows
├── StoreError (OSError)             the store refused
│   ├── StoreUnreachable (ConnectionError)   nobody answers at its address
│   │   └── StoreBusy                it answers that it is busy or out of order
│   ├── KeyMissing (FileNotFoundError)       no such key
│   ├── KeyExists (FileExistsError)          the key was to be written once, and is there
│   ├── KeyChanged                   the key has been written since it was read
│   └── RecordBroken (ValueError)            a key holds what no writer of ours writes
├── ServerError (RuntimeError)       the embedded S3 server
├── EngineError (RuntimeError)       a run could not be started or stopped
│   └── HasEnded                     there is nothing left to stop
├── StepError (RuntimeError)         a step did not do what it was to do
├── RasterError (OSError)            a raster or its labels cannot be read
├── WindowOutside (ValueError)       a window that does not touch its raster
├── TableError (ValueError)          a table lacks what is asked of it
└── MissingExtra (ImportError)       a package that one of rvlab's extras installs
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RvlabError(Exception):
    """The root of the tree: catch it to catch all of rvlab's errors.

    In a notebook it shows as its one sentence, without the way through rvlab that led there.
    """

    def _render_traceback_(self) -> list[str]:
        """What IPython shows."""
        return [f"{type(self).__name__}: {self}"]


class SpecError(RvlabError, ValueError):
    """A recipe, a parameter or an argument that cannot be run."""


class NotFound(RvlabError, LookupError):
    """An experiment, a run, a step or a scene nobody knows."""


class StoreError(RvlabError, OSError):
    """The store refused."""


class StoreUnreachable(StoreError, ConnectionError):
    """Nobody answers at the store's address."""


class StoreBusy(StoreUnreachable):
    """The store answers that it is busy or out of order; of one key it may do so for ever."""


class KeyMissing(StoreError, FileNotFoundError):
    """The store has no such key."""


class KeyExists(StoreError, FileExistsError):
    """A key that is written once is there already."""


class KeyChanged(StoreError):
    """A key that was to be replaced has been written since it was read."""


class RecordBroken(StoreError, ValueError):
    """A key holds what no writer of rvlab's writes."""


class ServerError(RvlabError, RuntimeError):
    """The embedded S3 server did not start, answer or stop."""


class EngineError(RvlabError, RuntimeError):
    """A run could not be started, watched or stopped."""


class HasEnded(EngineError):
    """A run that was to be stopped is over."""


class StepError(RvlabError, RuntimeError):
    """A step did not do, or did not leave, what it was to."""


class RasterError(RvlabError, OSError):
    """A raster or its labels cannot be read."""


class WindowOutside(RvlabError, ValueError):
    """A window that does not touch its raster."""


class TableError(RvlabError, ValueError):
    """A table lacks the column or the rows that are asked of it."""


class MissingExtra(RvlabError, ImportError):
    """A package is missing that one of rvlab's extras installs."""


def did_you_mean(word: str, known: Iterable[str], *, many: int = 8) -> str:
    """One sentence that leads from a wrong word to the right one.

    Args:
        word: What was written.
        known: The words that exist.
        many: How many of them to list when none is near.

    Returns:
        ``Did you mean 'chip_px'?``, or the words that exist, or that there are none.
    """
    words = sorted(set(known))
    if not words:
        return "There are none."
    near = difflib.get_close_matches(word, words, n=3, cutoff=0.6)
    if near:
        return f"Did you mean {' or '.join(repr(w) for w in near)}?"
    shown = ", ".join(repr(w) for w in words[:many])
    more = f" and {len(words) - many} more" if len(words) > many else ""
    return f"There are {shown}{more}."
