"""Ranges of parameters for random and adaptive search."""

from __future__ import annotations

import math
import random as rng
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rvlab.errors import SpecError


@dataclass(frozen=True)
class Range:
    """A range of numbers; with integer bounds its values are integers.

    Args:
        low: The smallest value.
        high: The largest value.
        log: Whether the logarithm of the value is uniformly distributed.

    Raises:
        SpecError: If the bounds are not finite and in order, or not positive for a logarithm.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        for bound in (self.low, self.high):
            if isinstance(bound, bool) or not isinstance(bound, int | float):
                raise SpecError(f"The bounds of a range must be numbers, got {bound!r}.")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise SpecError(f"A range needs low < high, got {self.low!r} and {self.high!r}.")
        if self.log and self.low <= 0:
            raise SpecError(f"loguniform needs positive bounds, got {self.low!r}.")

    @property
    def is_integer(self) -> bool:
        """Whether the values are integers, because both bounds are."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def draw(self, source: rng.Random) -> float:
        """Draw a value."""
        # Half a step at each end gives every integer the same probability.
        margin = 0.5 if self.is_integer else 0.0
        low, high = self.low - margin, self.high + margin
        if self.log:
            value = math.exp(source.uniform(math.log(low), math.log(high)))
        else:
            value = source.uniform(low, high)
        value = min(max(value, self.low), self.high)
        return round(value) if self.is_integer else value


def uniform(low: float, high: float) -> Range:
    """Return a range in which every value is equally likely; integer bounds give integers.

    Raises:
        SpecError: If the bounds are not finite numbers in order.
    """
    return Range(low, high)


def loguniform(low: float, high: float) -> Range:
    """Return a range in which every order of magnitude is equally likely, as for learning rates.

    Integer bounds give integers.

    Raises:
        SpecError: If the bounds are not finite positive numbers in order.
    """
    return Range(low, high, log=True)


def random(n: int, /, *, seed: int = 0, **axes: Any) -> list[dict[str, Any]]:
    """Return random points of some parameters, for `rvlab.Lab.sweep`.

    Args:
        n: Number of points.
        seed: The same seed gives the same points.
        **axes: For each parameter a range (`uniform`, `loguniform`) or a list of values to choose
            from; a single value is the same in all points.

    Returns:
        One dict of parameters for each point.

    Raises:
        SpecError: If `n` is not positive, or a list is empty.
    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise SpecError(f"n must be a positive integer, got {n!r}.")
    source = rng.Random(seed)  # noqa: S311  not a secret
    space = parse_space(axes)
    return [
        {
            name: axis.draw(source) if isinstance(axis, Range) else source.choice(axis)
            for name, axis in space.items()
        }
        for _ in range(n)
    ]


def parse_space(axes: Mapping[str, Any]) -> dict[str, Range | list[Any]]:
    """Return each axis as a range or as a list of values.

    Raises:
        SpecError: If a list is empty.
    """
    space: dict[str, Range | list[Any]] = {}
    for name, axis in axes.items():
        if isinstance(axis, Range):
            space[name] = axis
            continue
        several = isinstance(axis, Iterable) and not isinstance(axis, str | Mapping)
        values = list(axis) if several else [axis]
        if not values:
            raise SpecError(f"{name} has no values. Pass at least one, or a range.")
        space[name] = values
    return space
