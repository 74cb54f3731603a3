"""The values of a recipe's parameters, whether typed or from ``rastervision run -a name value``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rvlab.errors import SpecError, did_you_mean


def parse_int(name: str, value: Any, *, least: int, most: int | None = None) -> int:
    """An integer between two limits, both allowed.

    Args:
        name: The parameter's name, for the message.
        value: A number, or text that is one.
        least: The smallest that makes sense.
        most: The largest; None sets no limit.

    Raises:
        SpecError: If it is no whole number, or outside the limits.
    """
    try:
        number = float(value)
        if isinstance(value, bool) or number != int(number):
            raise ValueError
    except (TypeError, ValueError, OverflowError) as exc:
        raise SpecError(f"{name} is a whole number, but {value!r} was given.") from exc
    if number < least or (most is not None and number > most):
        limits = f"at least {least}" if most is None else f"from {least} to {most}"
        raise SpecError(f"{name} is {limits}, but {value!r} was given.")
    return int(number)


def parse_positive(name: str, value: Any) -> float:
    """A finite number above zero.

    Args:
        name: The parameter's name, for the message.
        value: A number, or text that is one.

    Raises:
        SpecError: If it is no number, not finite, or not above zero.
    """
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError) as exc:
        raise SpecError(f"{name} is a number, but {value!r} was given.") from exc
    if not (math.isfinite(number) and number > 0):
        raise SpecError(f"{name} is a number above zero, but {value!r} was given.")
    return number


def parse_fraction(name: str, value: Any) -> float:
    """A number above 0 and below 1.

    Args:
        name: The parameter's name, for the message.
        value: A number, or text that is one.

    Raises:
        SpecError: If it is none.
    """
    number = parse_positive(name, value)
    if number >= 1:
        raise SpecError(f"{name} is a number between 0 and 1, but {value!r} was given.")
    return number


def parse_flag(name: str, value: Any) -> bool:
    """True or False, also as text.

    Args:
        name: The parameter's name, for the message.
        value: A bool, or one of true, false, yes, no, 1 and 0 in any case.

    Raises:
        SpecError: If it is none of them.
    """
    word = str(value).strip().lower()
    if word in ("true", "yes", "1"):
        return True
    if word in ("false", "no", "0"):
        return False
    raise SpecError(f"{name} is true or false, but {value!r} was given.")


def parse_choice(name: str, value: Any, words: Sequence[str]) -> str:
    """One of some words, in any case.

    Args:
        name: The parameter's name, for the message.
        value: What was given.
        words: The words that exist, in lower case.

    Raises:
        SpecError: If it is none of them.
    """
    word = str(value).strip().lower()
    if word not in words:
        raise SpecError(f"{name} cannot be {value!r}. {did_you_mean(word, words)}")
    return word


def require_chip_fits(chip_px: int, scene_px: int) -> None:
    """Check that a chip is no larger than the scenes it is cut from.

    Raises:
        SpecError: If it is.
    """
    if chip_px > scene_px:
        raise SpecError(
            f"chip_px is {chip_px}, but the scenes are {scene_px} pixels a side. "
            f"Make chip_px {scene_px} or less."
        )
