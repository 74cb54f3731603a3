"""Which class of a run is no class: the one of pixels that nobody labelled."""

from __future__ import annotations

from collections.abc import Sequence

NULL_CLASS = "null"
"""The class that Raster Vision adds for pixels without a label, unless null_class names another."""


def unlabelled_id(names: Sequence[str], null_class: str | None) -> int | None:
    """The id of the class of pixels that nobody labelled, which no score counts.

    That is the null class where it bears the name that Raster Vision gives it. A null class of
    another name, such as ``background``, is a class like any other.

    Args:
        names: The classes, in the order of their ids.
        null_class: The one that the config names as null class; None if it names none.

    Returns:
        The place of ``null`` in `names`; None if every class counts.
    """
    if null_class not in (None, NULL_CLASS) or NULL_CLASS not in names:
        return None
    return list(names).index(NULL_CLASS)
