"""The classes of predictions and truth of another program, and their values in rasters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from rvlab.errors import RasterError, RecordBroken, SpecError, did_you_mean
from rvlab.metrics import NULL_CLASS
from rvlab.raster.class_scores import NO_CLASS
from rvlab.raster.config import RGB, classes_from_config, color_hex, parse_color
from rvlab.raster.profile import RasterProfile

ClassesLike: TypeAlias = Sequence[str] | Mapping[str, int] | Mapping[str, str | Sequence[int]]
"""Names of classes; or a dict of names and their values in the rasters, or of names and colors."""

BACKGROUND_CLASS = "background"

# Tol, "Colour schemes" (2021), muted: also for colour-blind readers.
_COLORS = (
    *("#cc6677", "#ddcc77", "#88ccee", "#117733", "#aa4499"),
    *("#44aa99", "#999933", "#882255", "#332288"),
)
_BACKGROUND_COLOR, _NULL_COLOR = "#4d4d4d", "#000000"

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class ClassValues:
    """Classes and their values in rasters of class ids.

    Args:
        names: Names of the classes; the index is the class id.
        colors: Their colors, as text.
        null: Name of the class of pixels without a label.
        values: Value in the rasters -> class id.
        may_be_rgb: Whether `colors` were given, so that rasters may contain them.
    """

    names: tuple[str, ...]
    colors: tuple[str, ...]
    null: str
    values: Mapping[int, int]
    may_be_rgb: bool = False

    @property
    def null_id(self) -> int:
        """The id of the null class."""
        return self.names.index(self.null)

    @property
    def config(self) -> Json:
        """The classes as Raster Vision's ``class_config``."""
        return {
            "names": list(self.names),
            "colors": list(self.colors),
            "null_class": self.null,
            "type_hint": "class_config",
        }

    def transformers(
        self, header: RasterProfile, *, nodata_id: int | None, strict: bool = False
    ) -> list[Json]:
        """Return the transformers of a raster of class ids, or of class colors.

        Args:
            header: The raster.
            nodata_id: Class id of pixels with the value that the header declares as nodata, if that
                is not the value of a class. None leaves them to the reader, which, as Raster
                Vision, reads them as 0.
            strict: Whether values without a class become `NO_CLASS`, instead of remaining as they
                are.

        Raises:
            RasterError: If the bands or the type cannot be those of class ids.
        """
        step: Json
        if self.has_colors(header):
            step = {"type_hint": "rgb_class_transformer", "class_config": self.config}
            return [step | ({"others": NO_CLASS} if strict else {})]
        if header.bands != 1:
            colors = "" if self.may_be_rgb else ", and a dict of names and colors as classes"
            raise RasterError(
                f"{header.uri} has {header.bands} bands of {header.dtype}. Class ids need one "
                f"band, class colors three bands of uint8{colors}; give class scores as scores."
            )
        if not header.dtype.startswith(("int", "uint")):
            raise RasterError(
                f"{header.uri} has values of the type {header.dtype}, but class ids must be "
                "integers. Write them as uint8, or give probabilities, one band per class, as "
                "scores."
            )
        mapping = {value: number for value, number in self.values.items() if value != number}
        step = {"type_hint": "reclass_transformer"}
        nodata = header.nodata
        if nodata is not None and math.isfinite(nodata) and nodata == int(nodata):
            if int(nodata) in self.values:
                step |= {"nodata": int(nodata)} if nodata else {}
            elif nodata_id is not None:
                step["nodata"] = int(nodata)
                mapping[int(nodata)] = nodata_id
        if strict:
            step["others"] = NO_CLASS
            mapping = {**self.values, **mapping}
        if not mapping and "nodata" not in step:
            return []
        step["mapping"] = {str(value): number for value, number in sorted(mapping.items())}
        return [step]

    def has_colors(self, header: RasterProfile) -> bool:
        """Return whether the pixels of a raster are class colors."""
        return self.may_be_rgb and header.bands == 3 and header.dtype == "uint8"

    def require_scores(self, header: RasterProfile) -> None:
        """Require that a raster has a band of scores for each class, or each but the null class.

        Raises:
            RasterError: If the bands or the type are different.
        """
        least = len(self.names) - (self.null_id == len(self.names) - 1)
        if header.bands not in (least, len(self.names)):
            raise RasterError(
                f"{header.uri} has {header.bands} bands for the classes {', '.join(self.names)}; "
                "scores need one band per class, in this order."
            )
        if not (header.is_float or header.dtype == "uint8"):
            raise RasterError(
                f"{header.uri} has scores of the type {header.dtype}; they must be floats from 0 "
                "to 1, or uint8 where 255 is 1."
            )


def parse_classes(given: ClassesLike, null: str | int | None = None) -> ClassValues:
    """Return the classes that a caller describes.

    Args:
        given: Names, whose order gives the ids from 0; a dict of names and values, which are
            sorted by value; or a dict of names and colors.
        null: The name of the class of pixels without a label, or the value of these pixels. As in
            Raster Vision, a class ``null`` is added if no class is named.

    Raises:
        SpecError: If a name, value or color is invalid.
    """
    if isinstance(given, str) or not isinstance(given, Mapping | Iterable) or not given:
        raise SpecError(
            "classes must be a list of names, or a dict of names and values or colors, got "
            f"{given!r:.100}."
        )
    pairs: dict[str, Any] = dict(given) if isinstance(given, Mapping) else dict.fromkeys(given)
    names = list(pairs)
    if not isinstance(given, Mapping) and len(names) < len(list(given)):
        raise SpecError(f"classes has a name twice: {', '.join(map(str, given)):.200}.")
    for name in names:
        if not isinstance(name, str) or not name:
            raise SpecError(f"The name of a class must be text, got {name!r:.100}.")
    values: dict[str, int] = {name: i for i, name in enumerate(names)}
    colors: dict[str, str] = {}
    is_number = [type(one) is int for one in pairs.values()]
    if all(is_number):
        names = sorted(names, key=lambda name: pairs[name])
        values = {name: pairs[name] for name in names}
        if len(set(values.values())) < len(names):
            raise SpecError(f"classes has a value twice: {pairs!r:.200}.")
    elif any(is_number):
        raise SpecError(f"classes must have values or colors, not both: {pairs!r:.200}.")
    elif isinstance(given, Mapping):
        colors = {name: _color(name, one) for name, one in pairs.items()}
    null_name, ignored = _null_class(null, names, values)
    if null_name not in names:
        names.append(null_name)
    if len(names) >= NO_CLASS:
        raise SpecError(f"classes has {len(names)} classes; at most {NO_CLASS - 1} are possible.")
    ids = {value: names.index(name) for name, value in values.items()}
    if ignored is not None:
        ids[ignored] = names.index(null_name)
    return ClassValues(
        tuple(names),
        tuple(colors.get(name) or one for name, one in _default_colors(names).items()),
        null_name,
        ids,
        may_be_rgb=any(colors.values()),
    )


def class_values_of_config(class_config: Mapping[str, Any]) -> ClassValues:
    """Return the classes of a config of Raster Vision, whose rasters contain class ids.

    Raises:
        RecordBroken: If they are invalid.
    """
    own = classes_from_config(class_config)
    names = own.names if own.null is not None else (*own.names, NULL_CLASS)
    colors = [color_hex(color) for color in own.colors] + [_NULL_COLOR]
    ids = {number: number for number in range(len(names))}
    return ClassValues(names, tuple(colors[: len(names)]), own.null or NULL_CLASS, ids)


def _null_class(
    null: str | int | None, names: Sequence[str], values: Mapping[str, int]
) -> tuple[str, int | None]:
    """Return the name of the null class, and the value of pixels without a label if given."""
    if null is None:
        return NULL_CLASS, None
    if isinstance(null, str):
        if null not in names and null != NULL_CLASS:
            raise SpecError(
                f"null must be one of the classes, or a pixel value, got {null!r}. "
                f"{did_you_mean(null, names)}"
            )
        return null, None
    if type(null) is not int:
        raise SpecError(f"null must be the name of a class or a value, got {null!r:.100}.")
    named = next((name for name, value in values.items() if value == null), None)
    return (named, None) if named else (NULL_CLASS, null)


def _color(name: str, color: Any) -> str:
    try:
        rgb: RGB = parse_color(color)
        if not all(0 <= one <= 255 for one in rgb):
            raise RecordBroken("out of range")
    except (RecordBroken, TypeError) as exc:
        raise SpecError(
            f"The class {name!r} has the color {color!r:.100}; it must be a name, #rrggbb or three "
            "numbers from 0 to 255."
        ) from exc
    return color_hex(rgb)


def _default_colors(names: Sequence[str]) -> dict[str, str]:
    own = {BACKGROUND_CLASS: _BACKGROUND_COLOR, NULL_CLASS: _NULL_COLOR}
    others = [name for name in names if name not in own]
    own |= {name: _COLORS[i % len(_COLORS)] for i, name in enumerate(others)}
    return {name: own[name] for name in names}
