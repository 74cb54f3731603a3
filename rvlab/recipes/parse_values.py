"""Parsers of parameter values, given as Python values or as text from the command line.

Only recipes that were recorded before 0.1.0 call them (`rvlab.recipes.old_names`). Newer recipes
declare limits with `rvlab.recipes.value_limits`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rvlab.errors import SpecError, did_you_mean


def parse_int(name: str, value: Any, *, least: int, most: int | None = None) -> int:
    """Return an integer between two inclusive limits.

    Args:
        name: The parameter's name, for the message.
        value: A number, or text that is one.
        least: The smallest valid value.
        most: The largest valid value; None sets no limit.

    Raises:
        SpecError: If it is not an integer, or outside the limits.
    """
    try:
        number = float(value)
        if isinstance(value, bool) or number != int(number):
            raise ValueError
    except (TypeError, ValueError, OverflowError) as exc:
        raise SpecError(f"{name} must be an integer, got {value!r}.") from exc
    if number < least or (most is not None and number > most):
        limits = f"at least {least}" if most is None else f"from {least} to {most}"
        raise SpecError(f"{name} must be {limits}, got {value!r}.")
    return int(number)


def parse_positive(name: str, value: Any) -> float:
    """Return a finite number above zero.

    Args:
        name: The parameter's name, for the message.
        value: A number, or text that is one.

    Raises:
        SpecError: If it is not a finite number above zero.
    """
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError) as exc:
        raise SpecError(f"{name} must be a number, got {value!r}.") from exc
    if not (math.isfinite(number) and number > 0):
        raise SpecError(f"{name} must be a finite number above zero, got {value!r}.")
    return number


def parse_fraction(name: str, value: Any) -> float:
    """Return a number above 0 and below 1.

    Args:
        name: The parameter's name, for the message.
        value: A number, or text that is one.

    Raises:
        SpecError: If it is not such a number.
    """
    number = parse_positive(name, value)
    if number >= 1:
        raise SpecError(f"{name} must be between 0 and 1, got {value!r}.")
    return number


def parse_flag(name: str, value: Any) -> bool:
    """Return a bool, parsed from text if necessary.

    Args:
        name: The parameter's name, for the message.
        value: A bool, or one of true, false, yes, no, 1 and 0 in any case.

    Raises:
        SpecError: If it is not one of them.
    """
    word = str(value).strip().lower()
    if word in ("true", "yes", "1"):
        return True
    if word in ("false", "no", "0"):
        return False
    raise SpecError(f"{name} must be true or false, got {value!r}.")


def parse_choice(name: str, value: Any, words: Sequence[str]) -> str:
    """Return the lower-case word that matches a value in any case.

    Args:
        name: The parameter's name, for the message.
        value: The given value.
        words: The valid words, in lower case.

    Raises:
        SpecError: If it is not one of them.
    """
    word = str(value).strip().lower()
    if word not in words:
        raise SpecError(f"{name} cannot be {value!r}. {did_you_mean(word, words)}")
    return word


def require_chip_fits(chip_px: int, scene_px: int) -> None:
    """Validate that a chip is at most as large as a scene.

    Raises:
        SpecError: If the chip is larger.
    """
    if chip_px > scene_px:
        raise SpecError(
            f"chip_px is {chip_px}, but the scenes are {scene_px} pixels a side. "
            f"Make chip_px {scene_px} or less."
        )
