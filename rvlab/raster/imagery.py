"""The imagery that a model was trained on, as rules for other images.

`rvlab.raster.imagery_checks` checks images against the rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rvlab.errors import RasterError, SpecError
from rvlab.raster.config import RasterSource
from rvlab.raster.gdal import open_files
from rvlab.raster.profile import RasterProfile
from rvlab.raster.scene import scenes_from_config
from rvlab.user_warning import warn_user

if TYPE_CHECKING:
    from rvlab.store import Store

BandNames = Sequence[int] | Sequence[str]


@dataclass(frozen=True)
class SourceRules:
    """What the file of one source must be like.

    Args:
        order: The channels that are used, counted from 0; None is all except alpha.
        header: The header of the model's imagery; None if it cannot be read.
    """

    order: tuple[int, ...] | None
    header: RasterProfile | None

    @property
    def channels(self) -> int | None:
        """The number of channels that are used; None if it is not known."""
        if self.order is not None:
            return len(self.order)
        return None if self.header is None else self.header.bands


@dataclass(frozen=True)
class ImageryRules:
    """Requirements of a model for the images that it predicts.

    Args:
        run: The id of the model's run, for messages.
        task: Its task.
        channels: Number of channels that the model takes.
        sources: The sources of its imagery: one, or those of a ``MultiRasterSource``.
        primary: The index of the source that has the grid of the image.
        not_stacked: Why one file with all channels cannot replace several sources; None if it can.
        bands: The channels of the images that the user names; None are those of the sources.
        labels: ``raster`` or ``vector``: the kind of its labels; None without any.
        old_statistics: Whether statistics of Raster Vision up to 0.30 normalize the channels, which
            fit only the channels of the model's imagery.
    """

    run: str
    task: str
    channels: int | None
    sources: tuple[SourceRules, ...]
    primary: int
    not_stacked: str | None
    bands: BandNames | None
    labels: str | None
    old_statistics: bool

    def has_file_per_source(self, image: ImageFiles) -> bool:
        """Return whether an image has a file for each source, with the channels of that source."""
        plain = all(channels is None for _, channels in image.files)
        return plain and len(image.files) == len(self.sources)

    def source_name(self, number: int) -> str:
        """Return the name of a source, for messages.

        Args:
            number: Its index.
        """
        if len(self.sources) == 1:
            return f"the imagery of the run {self.run}"
        return f"source {number + 1} of the imagery of the run {self.run}"


@dataclass(frozen=True)
class ImageFiles:
    """The files of one image.

    Args:
        files: A file with its channels, counted from 0, or None for those of the model's imagery.
            Several files are those of the sources of the model's imagery, or their channels are
            joined.
        primary: The index of the file that has the grid of the image.
    """

    files: tuple[tuple[str, tuple[int, ...] | None], ...]
    primary: int = 0

    @property
    def name(self) -> str:
        """The file that has the grid of the image, for messages."""
        return self.files[self.primary][0]


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
        SpecError: If the run has no scene, or its imagery does not consist of files.
    """
    known = scenes_from_config(config, store)
    scenes = sorted(known, key=lambda one: ("validation", "train", "test").index(one.group))
    if not scenes:
        raise SpecError(f"The config of the run {run} has no scene, so its imagery is unknown.")
    source = scenes[0].image
    for leaf in source.leaves:
        if not leaf.uris:
            raise SpecError(
                f"New images cannot replace the imagery of the run {run}: {leaf.unsupported}. "
                "lab.model(run, kind='predictor') returns Raster Vision's predictor."
            )
    truth = next((one.truth for one in scenes if one.truth is not None), None)
    kind = None if truth is None else "raster" if isinstance(truth, RasterSource) else "vector"
    sources = _read_sources(source, run)
    old_statistics = any(
        one.get("type_hint") == "stats_transformer" and one.get("needs_channel_order", True)
        for part in (source, *source.leaves)
        for one in part.transformers
    )
    return ImageryRules(
        run=run,
        task=scenes[0].task,
        channels=_count_channels(config, source, sources),
        sources=sources,
        primary=next(i for i, leaf in enumerate(source.leaves) if leaf is source.primary_part),
        not_stacked=_reason_not_stacked(source, old_statistics),
        bands=bands,
        labels=kind,
        old_statistics=old_statistics,
    )


def _read_sources(source: RasterSource, run: str) -> tuple[SourceRules, ...]:
    """Read the header of each source; warn if one cannot be read."""
    found: list[SourceRules] = []
    problem: RasterError | None = None
    for leaf in source.leaves:
        header = None
        try:
            with open_files(leaf.files) as dataset:
                header = RasterProfile.of(dataset, leaf.uris[0])
        except RasterError as exc:
            problem = exc
        found.append(SourceRules(leaf.channel_order, header))
    if problem is not None:
        warn_user(
            f"Only the number of bands of the images is checked, because the imagery of the run "
            f"{run} cannot be read: {problem}"
        )
    return tuple(found)


def _count_channels(
    config: Mapping[str, Any], source: RasterSource, sources: Sequence[SourceRules]
) -> int | None:
    """Return the number of channels of the model; None if it is not known."""
    if source.channel_order is not None:
        return len(source.channel_order)
    try:
        stated = config["backend"]["data"]["img_channels"]
    except (KeyError, TypeError):
        stated = None
    each = [one.channels for one in sources]
    return stated or (None if None in each else sum(number or 0 for number in each))


def _reason_not_stacked(source: RasterSource, old_statistics: bool) -> str | None:
    if source.temporal:
        return "it is a time series"
    if old_statistics:
        return "it has statistics of Raster Vision 0.30 or earlier"
    if _has_transformers_of_parts(source):
        return "its sources have transformers of their own"
    return None


def _has_transformers_of_parts(source: RasterSource) -> bool:
    return any(part.transformers or _has_transformers_of_parts(part) for part in source.parts)
