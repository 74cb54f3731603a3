"""The imagery that a model was trained on, and the check that other images are like it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rvlab.errors import RasterError, SpecError
from rvlab.raster.config import RasterSource
from rvlab.raster.file_bytes import read_bytes
from rvlab.raster.gdal import open_files
from rvlab.raster.profile import RasterProfile, read_profile
from rvlab.raster.scene import scenes_from_config
from rvlab.user_warning import warn_user

if TYPE_CHECKING:
    from rvlab.store import Store

HEADER_READERS = 16

BandNames = Sequence[int] | Sequence[str]


@dataclass(frozen=True)
class ImageryRules:
    """What images must be like for a model.

    Args:
        run: The id of the model's run, for messages.
        task: Its task.
        channels: Number of channels that the model takes.
        order: The channels of its imagery, counted from 0; None is all except alpha.
        header: The header of its imagery; None if it cannot be read.
        bands: The channels of the images that the user names; None are those of `order`.
        labels: ``raster`` or ``vector``: the kind of its labels; None without any.
        old_statistics: Whether statistics of Raster Vision up to 0.30 normalize the channels, which
            fit only the channels of the model's imagery.
    """

    run: str
    task: str
    channels: int | None
    order: tuple[int, ...] | None
    header: RasterProfile | None
    bands: BandNames | None
    labels: str | None
    old_statistics: bool


@dataclass(frozen=True)
class ImageFiles:
    """The files of one image.

    Args:
        files: A file with its channels, counted from 0, or None for those of the model's imagery;
            the channels of several files are joined.
    """

    files: tuple[tuple[str, tuple[int, ...] | None], ...]

    @property
    def name(self) -> str:
        """The first file, for messages."""
        return self.files[0][0]


def channels_of_bands(bands: BandNames) -> tuple[int, ...]:
    """Return channels, counted from 0, of band numbers, counted from 1.

    Raises:
        SpecError: If one is not a number of a band.
    """
    if not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in bands):
        raise SpecError(
            f"bands of a file must be integers from 1, got {list(bands)!r}; names are for STAC "
            "items."
        )
    return tuple(int(n) - 1 for n in bands)


def imagery_rules(
    config: Mapping[str, Any], store: Store, run: str, bands: BandNames | None
) -> ImageryRules:
    """Return what images must be like for the model of a run.

    Args:
        config: ``pipeline-config.json`` of the model.
        store: The store that the config was read from.
        run: The id of the run, for messages.
        bands: The channels of the images that the user names.

    Raises:
        SpecError: If the run has no scene, or joins channels of several files.
    """
    known = scenes_from_config(config, store)
    scenes = sorted(known, key=lambda one: ("validation", "train", "test").index(one.group))
    if not scenes:
        raise SpecError(f"The config of the run {run} has no scene, so its imagery is unknown.")
    source = scenes[0].image
    if source.parts or not source.uris:
        raise SpecError(
            f"The run {run} was trained on a source of several images, which new images cannot "
            "replace. lab.model(run, kind='predictor') returns Raster Vision's predictor."
        )
    truth = next((one.truth for one in scenes if one.truth is not None), None)
    kind = None if truth is None else "raster" if isinstance(truth, RasterSource) else "vector"
    header = _header_of_run(scenes[0].image, run)
    order = source.channel_order
    channels = _channels_of_model(config) if order is None else len(order)
    return ImageryRules(
        run=run,
        task=scenes[0].task,
        channels=channels if channels is not None or header is None else header.bands,
        order=order,
        header=header,
        bands=bands,
        labels=kind,
        old_statistics=any(
            one.get("type_hint") == "stats_transformer" and one.get("needs_channel_order", True)
            for one in source.transformers
        ),
    )


def _channels_of_model(config: Mapping[str, Any]) -> int | None:
    try:
        return config["backend"]["data"]["img_channels"] or None
    except (KeyError, TypeError):
        return None


def _header_of_run(source: RasterSource, run: str) -> RasterProfile | None:
    try:
        with open_files(source.files) as dataset:
            return RasterProfile.of(dataset, source.uris[0])
    except RasterError as exc:
        warn_user(
            f"Only the number of bands of the images is checked, because the imagery of the run "
            f"{run} cannot be read: {exc}"
        )
        return None


def require_same_imagery(
    rules: ImageryRules, images: Sequence[ImageFiles]
) -> dict[str, RasterProfile]:
    """Require that images have the bands, the type and the georeference of the model's imagery.

    Only headers are read.

    Returns:
        The profile of each file, by its address.

    Raises:
        RasterError: If an image cannot be opened.
        SpecError: If one differs; the message has both values.
    """
    names = list(dict.fromkeys(uri for image in images for uri, _ in image.files))
    with ThreadPoolExecutor(HEADER_READERS) as pool:
        profiles = dict(zip(names, pool.map(read_profile, names), strict=True))
    for image in images:
        for uri, channels in image.files:
            _require_same(rules, uri, profiles[uri], channels)
        chosen = [len(channels) for _, channels in image.files if channels is not None]
        if chosen and rules.channels not in (None, sum(chosen)):
            raise SpecError(
                f"{sum(chosen)} bands of {image.name} are named, but the model of the run "
                f"{rules.run} takes {rules.channels}."
            )
        sizes = {profiles[uri].size_text for uri, _ in image.files}
        if len(sizes) > 1:
            raise SpecError(
                f"The bands of {image.name} have different sizes: {', '.join(sorted(sizes))}. "
                "Resample them to one grid first."
            )
    return profiles


def require_labels(
    rules: ImageryRules,
    pairs: Mapping[str, ImageFiles],
    profiles: Mapping[str, RasterProfile],
) -> None:
    """Require that files of labels can be read, and rasters have the size of their images.

    Args:
        rules: As for `require_same_imagery`.
        pairs: The image of each file of labels.
        profiles: Those of the images, as `require_same_imagery` returns them.

    Raises:
        RasterError: If a file cannot be opened.
        SpecError: If a size differs.
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


def _require_same(
    rules: ImageryRules, uri: str, found: RasterProfile, channels: tuple[int, ...] | None
) -> None:
    own, run = rules.header, rules.run
    if channels is not None and rules.old_statistics:
        raise SpecError(
            f"The model of the run {run} has statistics of Raster Vision 0.30 or earlier, so other "
            f"bands of {uri} cannot be chosen. Write them into a file of their own first."
        )
    wanted = rules.order if channels is None else channels
    lacks = wanted is not None and max(wanted, default=-1) >= found.bands
    if channels is None and own is not None and found.bands != own.bands:
        raise SpecError(
            f"{uri} has {_count(found.bands)}, the imagery of the run {run} {own.bands}. Name the "
            "bands of the image with bands=[…], counted from 1, in the order of the model's "
            "channels."
        )
    if lacks or (wanted is None and rules.channels not in (None, found.bands)):
        needed = max(wanted) + 1 if wanted else rules.channels
        raise SpecError(
            f"{uri} has {_count(found.bands)}, but the model of the run {run} needs {needed}."
        )
    if own is None:
        return
    if found.dtype != own.dtype:
        raise SpecError(
            f"{uri} has the type {found.dtype}, the imagery of the run {run} {own.dtype}. Convert "
            "it as the training imagery was converted."
        )
    if own.crs_name is not None and found.crs_name is None:
        raise SpecError(
            f"{uri} has no CRS, the imagery of the run {run} {own.crs_name}. Georeference it "
            "first, such as with rio edit-info --crs."
        )


def _count(bands: int) -> str:
    return f"{bands} band{'' if bands == 1 else 's'}"
