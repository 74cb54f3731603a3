"""Groups of scenes that are scored together."""

from __future__ import annotations

from collections.abc import Iterable


def headline_group(groups: Iterable[str]) -> str:
    """The group that a run's row shows: ``validation``, else ``test``, else the first.

    Args:
        groups: The names of one group or more.
    """
    known = list(groups)
    return next((name for name in ("validation", "test") if name in known), known[0])
