"""A rectangle of pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import index
from typing import Any

from rvlab.errors import SpecError, WindowOutside

WINDOW_FIELDS = ("col", "row", "width", "height")


@dataclass(frozen=True, order=True)
class Window:
    """A rectangle of pixels, with the origin in the upper left corner as in rasterio.

    Args:
        col: First column.
        row: First row.
        width: Number of columns, at least 1.
        height: Number of rows, at least 1.

    Raises:
        SpecError: If a number is not an integer, or the rectangle is empty.
    """

    col: int
    row: int
    width: int
    height: int

    def __post_init__(self) -> None:
        for name in WINDOW_FIELDS:
            value = getattr(self, name)
            try:
                # A DataFrame row with a text column or missing values has integers as floats.
                whole = int(value) if float(value).is_integer() else index(value)
            except (TypeError, ValueError) as exc:
                raise SpecError(
                    f"A window's {name} must be an integer, in pixels; got {value!r}."
                ) from exc
            object.__setattr__(self, name, whole)
        if self.width < 1 or self.height < 1:
            raise SpecError(f"A window of {self} is empty: width and height must be at least 1.")

    def __str__(self) -> str:
        return f"{self.width} × {self.height} px at col {self.col}, row {self.row}"

    @classmethod
    def from_value(cls, value: Window | Mapping[str, Any] | Sequence[Any]) -> Window:
        """Convert a mapping or table row with the four fields, or four numbers in order."""
        if isinstance(value, cls):
            return value
        try:
            if isinstance(value, Mapping):
                return cls(*(value[name] for name in WINDOW_FIELDS))
            return cls(*value)  # type: ignore[misc]
        except (KeyError, TypeError) as exc:
            raise SpecError(
                f"{value!r} is not a window. Give col, row, width and height in pixels."
            ) from exc

    @property
    def area(self) -> int:
        """Number of pixels."""
        return self.width * self.height

    @property
    def stop_col(self) -> int:
        """The column after the last."""
        return self.col + self.width

    @property
    def stop_row(self) -> int:
        """The row after the last."""
        return self.row + self.height

    def intersection(self, other: Window) -> Window | None:
        """Return the intersection with another window; None if it is empty."""
        col, row = max(self.col, other.col), max(self.row, other.row)
        width = min(self.stop_col, other.stop_col) - col
        height = min(self.stop_row, other.stop_row) - row
        return Window(col, row, width, height) if width > 0 and height > 0 else None

    def clip(self, width: int, height: int) -> Window:
        """Clip at the edge of a raster.

        Raises:
            WindowOutside: If the window does not intersect the raster.
        """
        clipped = self.intersection(Window(0, 0, width, height))
        if clipped is None:
            raise WindowOutside(
                f"The window of {self} is outside the raster of {width} × {height} px."
            )
        return clipped

    def shifted(self, cols: int, rows: int) -> Window:
        """Return the window shifted by columns and rows."""
        return Window(self.col + cols, self.row + rows, self.width, self.height)

    def with_margin(self, by: int) -> Window:
        """Return the window with some more pixels on each side, without clipping it."""
        return Window(self.col - by, self.row - by, self.width + 2 * by, self.height + 2 * by)

    def shape_within(self, max_px: int | None) -> tuple[int, int]:
        """Return rows and columns, scaled so that the longer side has at most `max_px`."""
        longest = max(self.width, self.height)
        if max_px is None or longest <= max_px:
            return self.height, self.width
        scale = max_px / longest
        return max(1, round(self.height * scale)), max(1, round(self.width * scale))

    def slices(self) -> tuple[slice, slice]:
        """Return slices of rows and columns, for ``array[..., *window.slices()]``."""
        return slice(self.row, self.stop_row), slice(self.col, self.stop_col)

    def to_rasterio(self) -> Any:
        """Convert to ``rasterio.windows.Window``."""
        from rasterio.windows import Window as RasterioWindow

        return RasterioWindow(self.col, self.row, self.width, self.height)
