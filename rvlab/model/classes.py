"""The class that Raster Vision uses for unlabelled pixels."""

from __future__ import annotations

from collections.abc import Sequence

NULL_CLASS = "null"
"""The class that Raster Vision adds for pixels without a label, unless null_class names another."""


def unlabelled_id(names: Sequence[str], null_class: str | None) -> int | None:
    """Return the id of the class of unlabelled pixels, which no metric counts.

    This is the null class if it has Raster Vision's default name. A null class with another name,
    such as ``background``, is an ordinary class.

    Args:
        names: The class names, in the order of their ids.
        null_class: The null class of the config; None if the config has none.

    Returns:
        The position of ``null`` in `names`; None if every class counts.
    """
    if null_class not in (None, NULL_CLASS) or NULL_CLASS not in names:
        return None
    return list(names).index(NULL_CLASS)
