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
    """A rectangle of pixels, counted from the upper left corner as rasterio does.

    Args:
        col: The first column.
        row: The first row.
        width: Columns, 1 or more.
        height: Rows, 1 or more.

    Raises:
        SpecError: If a number is no integer, or the rectangle is empty.
    """

    col: int
    row: int
    width: int
    height: int

    def __post_init__(self) -> None:
        for name in WINDOW_FIELDS:
            value = getattr(self, name)
            try:
                # A row of a DataFrame with a text column or a gap holds whole numbers as floats.
                whole = int(value) if float(value).is_integer() else index(value)
            except (TypeError, ValueError) as exc:
                raise SpecError(
                    f"A window's {name} is a whole number of pixels, not {value!r}."
                ) from exc
            object.__setattr__(self, name, whole)
        if self.width < 1 or self.height < 1:
            raise SpecError(f"A window of {self} holds no pixel. Give it a width and a height.")

    def __str__(self) -> str:
        return f"{self.width} × {self.height} px at col {self.col}, row {self.row}"

    @classmethod
    def from_value(cls, value: Window | Mapping[str, Any] | Sequence[Any]) -> Window:
        """A window from a mapping or a row with its four names, or from four numbers in order."""
        if isinstance(value, cls):
            return value
        try:
            if isinstance(value, Mapping):
                return cls(*(value[name] for name in WINDOW_FIELDS))
            return cls(*value)  # type: ignore[misc]
        except (KeyError, TypeError) as exc:
            raise SpecError(
                f"{value!r} is no window. Give col, row, width and height in pixels."
            ) from exc

    @property
    def area(self) -> int:
        """Pixels in it."""
        return self.width * self.height

    @property
    def stop_col(self) -> int:
        """The column behind the last."""
        return self.col + self.width

    @property
    def stop_row(self) -> int:
        """The row behind the last."""
        return self.row + self.height

    def intersection(self, other: Window) -> Window | None:
        """The pixels that both hold; None if there are none."""
        col, row = max(self.col, other.col), max(self.row, other.row)
        width = min(self.stop_col, other.stop_col) - col
        height = min(self.stop_row, other.stop_row) - row
        return Window(col, row, width, height) if width > 0 and height > 0 else None

    def clip(self, width: int, height: int) -> Window:
        """Cut at the edge of a raster.

        Raises:
            WindowOutside: If nothing is left.
        """
        cut = self.intersection(Window(0, 0, width, height))
        if cut is None:
            raise WindowOutside(
                f"The window of {self} lies outside the raster of {width} × {height} px."
            )
        return cut

    def shifted(self, cols: int, rows: int) -> Window:
        """The same rectangle, moved."""
        return Window(self.col + cols, self.row + rows, self.width, self.height)

    def shape_within(self, max_px: int | None) -> tuple[int, int]:
        """Rows and columns when the longer side is to have `max_px` pixels at most."""
        longest = max(self.width, self.height)
        if max_px is None or longest <= max_px:
            return self.height, self.width
        scale = max_px / longest
        return max(1, round(self.height * scale)), max(1, round(self.width * scale))

    def slices(self) -> tuple[slice, slice]:
        """For an array whose last axes are rows and columns: ``array[..., *window.slices()]``."""
        return slice(self.row, self.stop_row), slice(self.col, self.stop_col)

    def to_rasterio(self) -> Any:
        """The ``rasterio.windows.Window``."""
        from rasterio.windows import Window as RasterioWindow

        return RasterioWindow(self.col, self.row, self.width, self.height)
