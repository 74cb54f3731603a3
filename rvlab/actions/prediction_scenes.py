"""The scenes of a prediction, from paths, patterns, STAC items and files of several sources."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from rvlab.actions.stac import is_item, item_image
from rvlab.errors import SpecError
from rvlab.exchange.scene_files import match_files_to_scenes
from rvlab.raster.imagery import ImageFiles, ImageryRules, channels_of_bands
from rvlab.store.file_patterns import RASTER_SUFFIXES, VECTOR_SUFFIXES, expand_file_pattern

_NOT_IN_ID = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class PredictionScene:
    """A scene of a prediction.

    Args:
        id: The scene id, unique in the run.
        image: The files of the image.
        labels: The file of its labels; None without labels.
    """

    id: str
    image: ImageFiles
    labels: str | None = None

    @property
    def uris(self) -> list[str]:
        """The files of the image, and that of the labels."""
        return [*(uri for uri, _ in self.image.files), *([self.labels] if self.labels else [])]

    def record(self) -> dict[str, Any]:
        """Return the scene as the recipe takes it."""
        files = [[uri, None if order is None else list(order)] for uri, order in self.image.files]
        return {"id": self.id, "files": files, "labels": self.labels}


def find_scenes(images: Any, labels: Any, rules: ImageryRules) -> list[PredictionScene]:
    """Return the scenes of images, with ids from the names of their files.

    Args:
        images: A path, a URI, a pattern, a STAC item, or a tuple with one of the first three for
            each source of the model's imagery; or a list of these.
        labels: Files of labels, likewise, or a dict of scene id or image to file; None without any.
        rules: What the images must be like.

    Raises:
        NotFound: If a pattern matches no file.
        SpecError: If no image is given, an item has no suitable image, or labels match no image.
    """
    is_one = len(rules.sources) > 1 and _names_sources(images) and isinstance(images, tuple)
    given = [images] if is_one else _as_list(images)
    found = [
        PredictionScene(name, image) for one in given for name, image in _images_of(one, rules)
    ]
    if not found:
        raise SpecError("predict needs images, got none. Name files, patterns or STAC items.")
    unique = list({scene.image: scene for scene in found}.values())
    scenes = [
        replace(scene, id=name) for scene, name in zip(unique, unique_ids(unique), strict=True)
    ]
    if labels is not None:
        scenes = _with_labels(scenes, labels, rules, one_by_one=len(given) == len(scenes))
    return scenes


def _images_of(one: Any, rules: ImageryRules) -> list[tuple[str, ImageFiles]]:
    """Return the name and the files of each image that one argument means."""
    if is_item(one):
        return [item_image(one, rules)]
    if _names_sources(one):
        return _images_of_sources(one, rules)
    channels = None if rules.bands is None else channels_of_bands(rules.bands)
    return [(uri, ImageFiles(((uri, channels),))) for uri in _find_files(one)]


def _names_sources(one: Any) -> bool:
    """Return whether an argument may name a file for each source."""
    return isinstance(one, tuple | list) and all(isinstance(file, str | Path) for file in one)


def _images_of_sources(
    named: Sequence[str | Path], rules: ImageryRules
) -> list[tuple[str, ImageFiles]]:
    """Return the images of a tuple with a file, a folder or a pattern for each source.

    The files of folders or patterns are matched by their names. A single file may be that of a
    source for all scenes, such as an elevation model.
    """
    listed = ", ".join(map(str, named))
    if len(named) != len(rules.sources):
        raise SpecError(
            f"({listed:.300}) has {len(named)} files, but the imagery of the run {rules.run} has "
            f"{len(rules.sources)} source{'s' if len(rules.sources) > 1 else ''}."
        )
    if rules.bands is not None:
        raise SpecError(
            f"bands are those of one file, but ({listed:.300}) has one for each source, whose "
            "channels are those of the run."
        )
    found = [_find_files(one) for one in named]
    main = found[rules.primary]
    if any(len(uris) > 1 for uris in found):
        names = [PurePosixPath(uri).stem for uri in main]
        if len(set(names)) < len(names):
            raise SpecError(
                f"{named[rules.primary]} matches several files of one name. Give a tuple for each "
                "scene."
            )
        found = [
            list(match_files_to_scenes(names, uris, str(one)).values())
            if len(uris) > 1
            else uris * len(main)
            for one, uris in zip(named, found, strict=True)
        ]
    return [
        (files[rules.primary], ImageFiles(tuple((uri, None) for uri in files), rules.primary))
        for files in zip(*found, strict=True)
    ]


def _find_files(one: Any, suffixes: Sequence[str] = RASTER_SUFFIXES) -> list[str]:
    if not isinstance(one, str | Path):
        raise SpecError(f"{one!r:.200} is not an image. Give a path, a URI or a STAC item.")
    return expand_file_pattern(one, suffixes)


def unique_ids(scenes: Sequence[PredictionScene]) -> list[str]:
    """Return an id for each scene: the name of its file, with those of folders where needed."""
    paths = [_path_parts(scene.id) for scene in scenes]
    depth = [1] * len(paths)
    for _ in range(max(map(len, paths))):
        ids = [_id_of(path[-n:]) for path, n in zip(paths, depth, strict=True)]
        counts = Counter(ids)
        if len(counts) == len(ids):
            return ids
        depth = [n + (counts[name] > 1) for n, name in zip(depth, ids, strict=True)]
    taken: set[str] = set()
    for number, name in enumerate(ids):
        candidate, count = name, 2
        while candidate in taken or (candidate != name and candidate in ids):
            candidate, count = f"{name}-{count}", count + 1
        taken.add(candidate)
        ids[number] = candidate
    return ids


def _path_parts(name: str) -> list[str]:
    path = unquote(urlsplit(name).path) if "://" in name else name
    pure = PurePosixPath(path)
    stem = pure.stem if "/" in path or "://" in name else path
    return [part for part in (*pure.parts[:-1], stem) if part != "/"]


def _id_of(parts: Sequence[str]) -> str:
    return _NOT_IN_ID.sub("-", "-".join(parts)).strip("-.") or "scene"


def _with_labels(
    scenes: Sequence[PredictionScene], labels: Any, rules: ImageryRules, *, one_by_one: bool
) -> list[PredictionScene]:
    if rules.labels is None:
        raise SpecError(f"The run {rules.run} has no labels, so others cannot be read as its are.")
    suffixes = VECTOR_SUFFIXES if rules.labels == "vector" else RASTER_SUFFIXES
    pairs = _label_pairs(scenes, labels, suffixes, one_by_one=one_by_one)
    for uri in pairs.values():
        is_vector = uri.lower().endswith(VECTOR_SUFFIXES)
        if is_vector != (rules.labels == "vector"):
            kind = "a vector file" if is_vector else "a raster"
            raise SpecError(
                f"The labels {uri} are {kind}, those of the run {rules.run} a {rules.labels} file."
            )
    return [replace(scene, labels=pairs.get(scene.id)) for scene in scenes]


def _label_pairs(
    scenes: Sequence[PredictionScene], labels: Any, suffixes: Sequence[str], *, one_by_one: bool
) -> dict[str, str]:
    """Return the labels of each scene: as a dict says, in order, or by the names of files.

    The order counts only where each image and each file of labels was named by itself, since files
    that match a pattern are sorted by their own names.
    """
    if isinstance(labels, Mapping):
        by_name = {scene.id: scene.id for scene in scenes}
        by_name |= {scene.image.name: scene.id for scene in scenes}
        found = {}
        for name, uri in labels.items():
            scene = by_name.get(str(name)) or by_name.get(str(Path(str(name)).absolute()))
            if scene is None:
                raise SpecError(
                    f"labels has {str(name)!r}, but the scenes are "
                    f"{', '.join(scene.id for scene in scenes[:8])}."
                )
            found[scene] = _one_file(uri)
        return found
    given = _as_list(labels)
    uris = [uri for one in given for uri in _find_files(one, suffixes)]
    stems = {_id_of(_path_parts(uri)[-1:]): uri for uri in uris}
    ids = [scene.id for scene in scenes]
    if len(stems) == len(uris) and set(stems) <= set(ids):
        return stems
    if one_by_one and len(given) == len(uris) == len(ids):
        return dict(zip(ids, uris, strict=True))
    return match_files_to_scenes(ids, uris, "labels", extra=False)


def _one_file(uri: Any) -> str:
    found = _find_files(uri)
    if len(found) != 1:
        raise SpecError(f"{uri} must be one file of labels, but matches {len(found)}.")
    return found[0]


def require_remote(uris: Iterable[str], engine: str) -> None:
    """Require that files are not on this machine, which the runs of an engine cannot read.

    Raises:
        SpecError: If one is a local file.
    """
    for uri in uris:
        if urlsplit(uri).scheme in ("", "file"):
            raise SpecError(
                f"Runs of the engine {engine!r} cannot read {uri} of this machine. Copy it to "
                "s3:// first."
            )


def _as_list(values: Any) -> list[Any]:
    if values is None:
        return []
    several = isinstance(values, Iterable) and not isinstance(values, str | Mapping)
    return list(values) if several and not is_item(values) else [values]
