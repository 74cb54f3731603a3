"""The check that new images and labels are like those that a model was trained on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from rvlab.errors import SpecError
from rvlab.raster.file_bytes import read_bytes
from rvlab.raster.gdal import gdal_errors
from rvlab.raster.imagery import ImageFiles, ImageryRules
from rvlab.raster.profile import RasterProfile, read_profile
from rvlab.raster.read import Grid
from rvlab.user_warning import warn_user

HEADER_READERS = 16

COMPLETE = 0.99
"""Fraction of an image from which another source counts as covering it."""


def require_same_imagery(
    rules: ImageryRules, images: Sequence[ImageFiles]
) -> dict[str, RasterProfile]:
    """Require that images have the bands, the type and the georeference of the model's imagery.

    Only headers are read.

    Returns:
        The profile of each file, by its address.

    Raises:
        RasterError: If an image cannot be opened.
        SpecError: If one differs, with both values; or if files of one image do not overlap, or
            their CRSs cannot be transformed.
    """
    names = list(dict.fromkeys(uri for image in images for uri, _ in image.files))
    with ThreadPoolExecutor(HEADER_READERS) as pool:
        profiles = dict(zip(names, pool.map(read_profile, names), strict=True))
    for image in images:
        if rules.has_file_per_source(image):
            for number, (uri, _) in enumerate(image.files):
                _require_bands_of_source(rules, number, profiles[uri])
                _require_type_and_crs(rules, number, profiles[uri])
                _require_overlap(profiles[image.name], profiles[uri])
        else:
            _require_bands_of_model(rules, image, profiles)
            for uri, _ in image.files:
                _require_type_and_crs(rules, rules.primary, profiles[uri])
    return profiles


def _require_bands_of_source(rules: ImageryRules, number: int, found: RasterProfile) -> None:
    """Require that a file has the bands of a source, which the file replaces."""
    source, several = rules.sources[number], len(rules.sources) > 1
    if source.header is not None:
        if found.bands == source.header.bands:
            return
        other = (
            "A scene needs a file for each source, in the order of the sources."
            if several
            else "Name the bands of the image with bands=[…], counted from 1, in the order of the "
            "model's channels."
        )
        raise SpecError(
            f"{found.uri} has {_count(found.bands)}, {rules.source_name(number)} "
            f"{source.header.bands}. {other}"
        )
    needed = None if source.order is None else max(source.order, default=-1) + 1
    if needed is None and not several and rules.channels not in (None, found.bands):
        needed = rules.channels
    if needed is not None and (found.bands < needed or source.order is None):
        raise SpecError(
            f"{found.uri} has {_count(found.bands)}, but {rules.source_name(number)} needs "
            f"{needed}."
        )


def _require_bands_of_model(
    rules: ImageryRules, image: ImageFiles, profiles: Mapping[str, RasterProfile]
) -> None:
    """Require that chosen or joined bands are as many as the channels of the model."""
    total = 0
    for uri, channels in image.files:
        bands = profiles[uri].bands
        needed = bands if channels is None else max(channels, default=-1) + 1
        total += bands if channels is None else len(channels)
        if channels is not None and rules.old_statistics:
            raise SpecError(
                f"The model of the run {rules.run} has statistics of Raster Vision 0.30 or "
                f"earlier, so other bands of {uri} cannot be chosen. Write them into a file of "
                "their own first."
            )
        if bands < needed:
            raise SpecError(
                f"{uri} has {_count(bands)}, but the model of the run {rules.run} needs {needed}."
            )
    if len(rules.sources) > 1 and rules.not_stacked is not None:
        raise SpecError(
            f"The imagery of the run {rules.run} has {len(rules.sources)} sources, and "
            f"{image.name} cannot replace them all, because {rules.not_stacked}. Give a tuple with "
            "a file for each source."
        )
    if rules.channels not in (None, total):
        if len(rules.sources) > 1 and rules.bands is None:
            raise SpecError(
                f"{image.name} has {_count(total)}, but the model of the run {rules.run} takes "
                f"{rules.channels} of {len(rules.sources)} sources. Give a tuple with a file for "
                "each source, or one file with all channels."
            )
        raise SpecError(
            f"{total} bands of {image.name} are named, but the model of the run {rules.run} takes "
            f"{rules.channels}."
        )
    sizes = {profiles[uri].size_text for uri, _ in image.files}
    if len(sizes) > 1:
        raise SpecError(
            f"The bands of {image.name} have different sizes: {', '.join(sorted(sizes))}. "
            "Resample them to one grid first."
        )


def _require_type_and_crs(rules: ImageryRules, number: int, found: RasterProfile) -> None:
    own = rules.sources[number].header
    if own is None:
        return
    if found.dtype != own.dtype:
        raise SpecError(
            f"{found.uri} has the type {found.dtype}, {rules.source_name(number)} {own.dtype}. "
            "Convert it as the training imagery was converted."
        )
    if own.crs_name is not None and found.crs_name is None:
        raise SpecError(
            f"{found.uri} has no CRS, {rules.source_name(number)} {own.crs_name}. Georeference it "
            "first, such as with rio edit-info --crs."
        )


def _require_overlap(main: RasterProfile, other: RasterProfile) -> None:
    """Require that a file shows the place of the image; warn if it shows a part only."""
    if other is main:
        return
    if main.grid.has_position != other.grid.has_position:
        known, unknown = (main, other) if main.grid.has_position else (other, main)
        raise SpecError(
            f"{unknown.uri} has no position, but {known.uri} has one, so they cannot be joined."
        )
    covered = covered_fraction(main.grid, other.grid)
    if covered <= 0:
        raise SpecError(
            f"{other.uri} is elsewhere: it has {_extent_text(other)}, and {main.uri} "
            f"{_extent_text(main)}."
        )
    if covered < COMPLETE:
        warn_user(
            f"{other.uri} covers {covered:.0%} of {main.uri}: it has {_extent_text(other)}, and "
            f"the image {_extent_text(main)}. Its values are 0 in the rest."
        )


def covered_fraction(main: Grid, other: Grid) -> float:
    """Return the fraction of a raster's extent that is in the extent of another raster.

    Raises:
        SpecError: If their CRSs cannot be transformed.
    """
    from rasterio.warp import transform_bounds

    area = _bounds(main)
    if None not in (main.crs, other.crs) and main.crs != other.crs:
        try:
            area = transform_bounds(main.crs, other.crs, *area)
        except gdal_errors(ValueError) as exc:
            raise SpecError(f"Two files of an image cannot be joined: {exc}.") from exc
    there = _bounds(other)
    width = min(area[2], there[2]) - max(area[0], there[0])
    height = min(area[3], there[3]) - max(area[1], there[1])
    whole = (area[2] - area[0]) * (area[3] - area[1])
    return max(width, 0) * max(height, 0) / whole if whole else 0.0


def _bounds(grid: Grid) -> tuple[float, float, float, float]:
    """Return the smallest and largest x and y: left, bottom, right, top."""
    corners = [grid.point(col, row) for col in (0, grid.width) for row in (0, grid.height)]
    xs, ys = zip(*corners, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _extent_text(profile: RasterProfile) -> str:
    left, bottom, right, top = _bounds(profile.grid)
    crs = profile.crs_name or "no CRS"
    return f"x from {left:.10g} to {right:.10g}, y from {bottom:.10g} to {top:.10g} ({crs})"


def require_labels(
    rules: ImageryRules,
    pairs: Mapping[str, ImageFiles],
    profiles: Mapping[str, RasterProfile],
) -> None:
    """Require that labels can be read, and rasters of labels have the grids of their images.

    Args:
        rules: As for `require_same_imagery`.
        pairs: The image of each file of labels.
        profiles: Those of the images, as `require_same_imagery` returns them.

    Raises:
        RasterError: If a file cannot be opened.
        SpecError: If a size or CRS differs, or the corners are more than a pixel apart.
    """
    for uri, image in pairs.items():
        if rules.labels == "vector":
            read_bytes(uri)
            continue
        own, other = read_profile(uri), profiles[image.name]
        if own.size_text != other.size_text:
            raise SpecError(
                f"The labels {uri} have {own.size_text}, their image {image.name} "
                f"{other.size_text}."
            )
        if own.grid.has_position and other.grid.has_position and _shift_px(own, other) > 1:
            raise SpecError(
                f"The labels {uri} begin at {_corner(own)}, their image {image.name} at "
                f"{_corner(other)}."
            )


def _corner(header: RasterProfile) -> str:
    transform = header.grid.transform
    return f"x = {transform.c:.10g}, y = {transform.f:.10g} ({header.crs_name})"


def _shift_px(one: RasterProfile, other: RasterProfile) -> float:
    """Return the distance of two first pixels in pixels; infinite if the CRSs differ."""
    if one.crs_name != other.crs_name:
        return math.inf
    a, b = one.grid.transform, other.grid.transform
    return math.hypot(a.c - b.c, a.f - b.f) / (math.hypot(b.a, b.d) or 1)


def _count(bands: int) -> str:
    return f"{bands} band{'' if bands == 1 else 's'}"
