"""Conversion of imagery of any bit depth to 8-bit red, green and blue."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rvlab.errors import RasterError, SpecError, did_you_mean
from rvlab.raster.config import RasterSource
from rvlab.raster.gdal import malformed
from rvlab.raster.joined import read_joined
from rvlab.raster.read import Chip, Grid, read_choosing, source_bands
from rvlab.raster.scene import Scene
from rvlab.raster.window import Window

LOW_PERCENTILE, HIGH_PERCENTILE = 2.0, 98.0  # default stretch, in percent of the valid pixels

Bands = str | Sequence[int]
Stretch = Literal["minmax", "none"] | tuple[float, float]
Limits = tuple[float, float]

_STRETCH_NAMES: tuple[Literal["minmax"], Literal["none"]] = ("minmax", "none")
_MID_BLUE = 128  # blue of a group of two channels; 0.5 in Raster Vision


def image(
    scene: Scene,
    window: Window | Callable[[Grid], Window],
    *,
    max_px: int | None = 512,
    bands: Sequence[int] | None = None,
    stretch: Stretch | None = None,
) -> Chip:
    """Read the imagery of a window as 8-bit red, green and blue.

    The pixels are those of the file: the config's transformers (casting, statistics, NaN) are not
    applied.

    Args:
        scene: As `scenes_from_config` returns it.
        window: In pixels of the scene, within it; or a function that returns it from the grid of
            the whole image, called when the image is open.
        max_px: Longest side of the result, in pixels.
        bands: One to three channels for red, green and blue, numbered from 0 after `channel_order`
            as in Raster Vision. One channel is shown in grey, and two get a constant blue, as in
            Raster Vision. None takes the first three channels, or the first if there are fewer.
        stretch: The values of each channel that become black and white: two percentiles of the
            window's valid pixels; ``"minmax"`` for their minimum and maximum; ``"none"`` for 0 and
            255, or 0 and 1 for floats. None does not change uint8 and stretches other dtypes from
            the 2nd to the 98th percentile.

    Returns:
        A chip of shape (3, rows, columns), uint8; its mask is False for pixels without data.

    Raises:
        RasterError: If the image cannot be read, or has no such channel.
        SpecError: If `stretch` is invalid.
    """
    stretch = validate_stretch(stretch)
    found = picture_channels(scene, window, max_px=max_px, bands=bands)
    ends = [stretch_limits(band, found.mask, stretch) for band in found.array]
    return replace(found, array=stretch_to_rgb(found, ends))


def picture_channels(
    scene: Scene,
    window: Window | Callable[[Grid], Window],
    *,
    max_px: int | None,
    bands: Sequence[int] | None = None,
) -> Chip:
    """Read the channels of a picture in the file's dtype; arguments and errors as `image`."""
    box = scene.image.bbox
    left, top = (box.col, box.row) if box else (0, 0)

    def part(whole: Grid) -> Window:
        given = window(whole) if callable(window) else window
        return given.shifted(left, top)

    files = scene.image.require_files("image")
    if scene.image.parts:
        found = read_joined(
            scene.image,
            part,
            lambda count: displayed_channels(scene.image, count, bands),
            max_px=max_px,
        )
    else:
        found = read_choosing(
            files,
            part,
            lambda data: displayed_bands(scene, data, bands),
            max_px=max_px,
            resampling="average",
        )
    return replace(found, window=found.window.shifted(-left, -top))


def stretch_limits(
    band: NDArray[np.generic], mask: NDArray[np.bool_], stretch: Stretch | None = None
) -> Limits | None:
    """Return the values of a band that become black and white.

    Args:
        band: Shape (rows, columns), of any dtype.
        mask: True for pixels with data; others are ignored.
        stretch: As for `image`.

    Returns:
        The lower and the upper limit; None if the pixels are not stretched.
    """
    if band.dtype == np.uint8 and stretch in (None, "none"):
        return None
    valid = band[mask].astype(np.float64)
    if not valid.size:
        return 0.0, 1.0
    low, high = _percentile_limits(valid, stretch, is_float=band.dtype.kind == "f")
    return (
        (low, high) if high > low else (low - 1.0, low + 1.0)
    )  # a constant band becomes middle grey


def stretch_to_rgb(chip: Chip, ends: Sequence[Limits | None]) -> NDArray[np.uint8]:
    """Stretch the result of `picture_channels` to red, green and blue, shape (3, rows, columns).

    Args:
        chip: One to three channels: one is shown in grey, and two get a constant blue.
        ends: The `stretch_limits` of each channel, of this window or a larger one.
    """
    pairs = zip(chip.array, ends, strict=True)
    colors = [_scale_band(band, chip.mask, pair) for band, pair in pairs]
    if len(colors) == 2:
        colors.append(np.full_like(colors[0], _MID_BLUE))
    return np.stack(colors * 3 if len(colors) == 1 else colors)


def select_channels(
    config: Mapping[str, Any], bands: Bands | None = None
) -> tuple[int, ...] | None:
    """Return the channels of a picture.

    Args:
        config: ``pipeline-config.json``.
        bands: A name in its ``channel_display_groups``, or one to three numbers from 0. None takes
            the first group, as Raster Vision does for the first picture of a batch.

    Returns:
        Numbers from 0, counted after `channel_order`; None if the config has no groups.

    Raises:
        SpecError: If the group does not exist, or there are not one to three valid numbers.
    """
    groups = _channel_groups(config)
    if bands is None:
        return next(iter(groups.values()), None)
    if isinstance(bands, str):
        if bands not in groups:
            raise SpecError(
                f"Unknown channel display group {bands!r}. {did_you_mean(bands, groups)}"
            )
        return groups[bands]
    numbers = tuple(bands) if isinstance(bands, Iterable) else ()
    whole = all(isinstance(n, int | np.integer) and n >= 0 for n in numbers)
    if not (whole and 1 <= len(numbers) <= 3):
        raise SpecError(
            f"bands cannot be {bands!r}. Give 1 to 3 channel numbers, counted from 0, or the name "
            "of a channel display group."
        )
    return tuple(int(n) for n in numbers)


def validate_stretch(stretch: Any) -> Stretch | None:
    """Validate the argument `stretch` of `image`.

    Raises:
        SpecError: If it is invalid.
    """
    if stretch is None:
        return None
    if isinstance(stretch, str):
        for word in _STRETCH_NAMES:
            if stretch == word:
                return word
        raise SpecError(f"stretch cannot be {stretch!r}. {did_you_mean(stretch, _STRETCH_NAMES)}")
    try:
        low, high = (float(part) for part in stretch)
    except (TypeError, ValueError):
        low, high = 0.0, 0.0
    if not 0 <= low < high <= 100:
        raise SpecError(
            f"stretch cannot be {stretch!r}. Give two percentiles such as (2, 98), 'minmax' or "
            "'none'."
        )
    return low, high


def _channel_groups(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    part: Any = config
    for word in ("backend", "data", "plot_options", "channel_display_groups"):
        part = part.get(word) if isinstance(part, Mapping) else None
    with malformed("channel_display_groups of pipeline-config.json"):
        if isinstance(part, Mapping):
            return {str(name): _group(group) for name, group in part.items()}
        return {f"Channels: {list(group)}": _group(group) for group in part or ()}


def _group(numbers: Any) -> tuple[int, ...]:
    """Validate the channels of a group: one to three numbers, as in Raster Vision."""
    found = tuple(numbers)
    if not 1 <= len(found) <= 3 or not all(type(n) is int and n >= 0 for n in found):
        raise TypeError(f"a group must have 1 to 3 channel numbers, got {numbers!r:.100}")
    return found


def displayed_bands(scene: Scene, dataset: Any, chosen: Sequence[int] | None) -> list[int]:
    """Return the band numbers, from 1, that a picture of the scene shows; see `image`."""
    bands = source_bands(scene.image, dataset)
    return [bands[number] for number in _chosen_channels(scene.image, len(bands), chosen)]


def displayed_channels(source: RasterSource, count: int, chosen: Sequence[int] | None) -> list[int]:
    """Return which of the `count` joined channels of a source a picture shows; see `image`."""
    order = source.channel_order
    channels = list(range(count)) if order is None else list(order)
    wrong = [number for number in channels if number >= count]
    if wrong or not channels:
        raise RasterError(
            f"The sources of {source.name} have {count} channels, and the config's channel_order "
            f"is {order}."
        )
    return [channels[number] for number in _chosen_channels(source, len(channels), chosen)]


def _chosen_channels(source: RasterSource, count: int, chosen: Sequence[int] | None) -> list[int]:
    if chosen is None:
        return list(range(3 if count >= 3 else 1))
    strange = [number for number in chosen if number >= count]
    if strange:
        raise RasterError(
            f"{source.name} has no channel {strange[0]}; the scene's channels are 0 to {count - 1}."
        )
    return list(chosen)


def _scale_band(
    band: NDArray[np.generic], mask: NDArray[np.bool_], ends: Limits | None
) -> NDArray[np.uint8]:
    if ends is None:
        return np.asarray(band, np.uint8)
    low, high = ends
    values = np.where(mask, band, low).astype(np.float64)
    return np.asarray(np.clip((values - low) * (255.0 / (high - low)), 0, 255), np.uint8)


def _percentile_limits(
    valid: NDArray[np.float64], stretch: Stretch | None, *, is_float: bool
) -> tuple[float, float]:
    if stretch == "none":
        return 0.0, 1.0 if is_float else 255.0
    if stretch == "minmax":
        return float(valid.min()), float(valid.max())
    low, high = np.percentile(valid, stretch or (LOW_PERCENTILE, HIGH_PERCENTILE))
    return float(low), float(high)
