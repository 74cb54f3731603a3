"""Groups of scenes that are scored together."""

from __future__ import annotations

from collections.abc import Iterable


def headline_group(groups: Iterable[str]) -> str:
    """Return the group of the headline metrics: ``validation``, else ``test``, else the first.

    Args:
        groups: The names of at least one group.
    """
    known = list(groups)
    return next((name for name in ("validation", "test") if name in known), known[0])
