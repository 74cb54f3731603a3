"""Fingerprints of scored scenes: short texts that are equal where the data is equal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import pyarrow as pa

from rvlab.errors import RvlabError
from rvlab.model.tables import SCENES_TABLE
from rvlab.raster.config import classes_from_config
from rvlab.raster.labels import SceneLabels
from rvlab.raster.scene import scenes_from_config
from rvlab.raster.sidecars import sidecar_fingerprints
from rvlab.store.addresses import store_for_uri
from rvlab.store.store import normalize_uri
from rvlab.store.table_file import rows_to_arrow

TRUTH_COLUMNS = ("labels", "aois", "grid")
"""Columns of the fingerprints on which scores depend; ``image`` is only the input of a model."""

HASH_DIGITS = 16
"""Hexadecimal digits of a fingerprint."""

BLOCK_BYTES = 2**20
MAX_WHOLE_BYTES = 64 * BLOCK_BYTES
"""Larger images are hashed from `SAMPLE_BLOCKS` blocks instead of all their bytes."""

SAMPLE_BLOCKS = 16

FILE_FIELDS = ("uri", "uris", "aoi_uris")
"""Fields of a config that hold addresses of files."""

_IGNORED_FIELDS = ("transformers", "channel_order", "allow_streaming")
"""Fields of an image source that change how a model sees the pixels, not the pixels themselves."""


def fingerprint_scenes(config: Mapping[str, Any], groups: Mapping[str, Sequence[str]]) -> pa.Table:
    """Return fingerprints of image, labels, areas and pixel grid for each scene of some groups.

    They are computed from the content of the files and from the settings that derive labels from
    it, not from the location of the files: the same scenes on another machine have the same
    fingerprints. Labels and areas are hashed completely; for an image of more than 64 MiB only its
    size and 16 evenly spaced blocks of 1 MiB are hashed. A file that cannot be read is represented
    by its address, and the log says so. The grid is the size and the georeference of the scored
    pixels. If the grid cannot be read, the fingerprint of the image takes its place.

    Args:
        config: ``pipeline-config.json``.
        groups: A group's name -> the ids of its scenes.

    Returns:
        A row per group and scene: ``group scene image labels aois grid hashed_from``; `aois` is
        null where the scene has none, `hashed_from` is ``content`` or ``address``.
    """
    data = config["dataset"]
    grids = _Grids(config)
    scenes = {
        str(scene["id"]): _Scene(scene, grids)
        for kind in ("train", "validation", "test")
        for scene in data.get(f"{kind}_scenes") or []
    }
    rows = [
        {"group": group, "scene": name, **scenes[name].row}
        for group, names in groups.items()
        for name in sorted(names)
        if name in scenes
    ]
    return rows_to_arrow(SCENES_TABLE, rows)


def eval_sets(
    table: pa.Table, class_config: Mapping[str, Any], rules: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return a fingerprint per group of everything except the model on which its scores depend.

    It covers the scenes with their labels, areas of interest and pixel grids, the classes including
    the null class, and the rule by which pixels were counted. It does not cover the pixels of the
    images: models on other bands or sensors are scored on the same truth.

    Args:
        table: As `fingerprint_scenes` returns it.
        class_config: ``dataset.class_config`` of ``pipeline-config.json``.
        rules: Group -> the counting rule, for groups in the result of
            `rvlab.worker.results.counting_rules`.
    """
    classes = [list(class_config["names"]), class_config.get("null_class")]
    scenes_by_group: dict[str, list[Any]] = {}
    for row in table.to_pylist():
        values = [row[name] for name in ("scene", *TRUTH_COLUMNS)]
        scenes_by_group.setdefault(row["group"], []).append(values)
    return {
        group: _digest([classes, sorted(rows, key=str), *filter(None, [(rules or {}).get(group)])])
        for group, rows in scenes_by_group.items()
    }


class _Grids:
    """The pixel grids of a config's scenes."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config

    @cached_property
    def _scenes(self) -> dict[str, SceneLabels]:
        # The last scene with an id counts, as in Raster Vision's eval.
        try:
            classes = classes_from_config(self._config)
            scenes = scenes_from_config(self._config)
        except RvlabError:
            return {}
        return {scene.id: SceneLabels(scene, classes) for scene in scenes}

    def fingerprint(self, name: str) -> str | None:
        """Return the fingerprint of a scene's grid; None if config or image cannot be read."""
        if name not in self._scenes:
            return None
        try:
            grid = self._scenes[name].grid
        except RvlabError:
            return None
        crs = None if grid.crs is None else grid.crs.to_string()
        # Twelve digits: the same georeference may differ by rounding between files.
        transform = [f"{number:.12g}" for number in tuple(grid.transform)[:6]]
        return _digest([grid.width, grid.height, transform, crs])


class _Scene:
    """The files of a scene, read once even if the scene is in several groups."""

    def __init__(self, config: Mapping[str, Any], grids: _Grids) -> None:
        self._config = config
        self._grids = grids
        self._by_address = False

    @cached_property
    def row(self) -> dict[str, str | None]:
        """The fingerprints of the scene, a row without group and name."""
        config = self._config
        image = self._with_contents(config["raster_source"], whole=False)
        labels = config.get("label_source")
        areas = [self._file(uri, whole=True) for uri in _as_list(config.get("aoi_uris"))]
        image_fingerprint = _digest(list(_image_files(image)))
        return {
            "image": image_fingerprint,
            "labels": _digest(self._with_contents(labels, whole=True)) if labels else None,
            "aois": _digest(sorted(areas)) if areas else None,
            "grid": self._grids.fingerprint(str(config["id"])) or image_fingerprint,
            "hashed_from": "address" if self._by_address else "content",
        }

    def _with_contents(self, value: Any, *, whole: bool) -> Any:
        """Return a section of the config with each file's hash in place of its address."""
        if isinstance(value, Mapping):
            return {
                name: [self._file(uri, whole=whole) for uri in _as_list(inner)]
                if name in FILE_FIELDS
                else self._with_contents(inner, whole=whole)
                for name, inner in sorted(value.items())
                if inner is not None
            }
        if isinstance(value, list):
            return [self._with_contents(inner, whole=whole) for inner in value]
        return value

    def _file(self, uri: str, *, whole: bool) -> str:
        try:
            sha256 = file_sha256(uri, whole=whole)
            sidecars = sidecar_fingerprints(uri)
            return _digest([sha256, *sidecars]) if sidecars else sha256
        except (RvlabError, OSError) as exc:
            print(
                f"{uri} cannot be read here, so the fingerprint of scene {self._config['id']!r} "
                f"uses its address: {exc}"
            )
            self._by_address = True
            return f"address {uri}"


def file_sha256(uri: str, *, whole: bool = True) -> str:
    """Return the SHA-256 of a file's size and content, in hexadecimal.

    Args:
        uri: A local path or anything a store opens, such as ``s3://bucket/scene.tif``.
        whole: Whether to read all bytes; otherwise only blocks of a large file are read.

    Raises:
        StoreError: If it cannot be read.
    """
    store = store_for_uri(uri)
    key = store.key(normalize_uri(uri))
    size = store.size(key)
    digest = hashlib.sha256(str(size).encode())
    for start, length in _blocks(size, whole):
        digest.update(store.get_range(key, start, length))
    return digest.hexdigest()


def _blocks(size: int, whole: bool) -> Iterator[tuple[int, int]]:
    if whole or size <= MAX_WHOLE_BYTES:
        for start in range(0, size, MAX_WHOLE_BYTES):
            yield start, min(MAX_WHOLE_BYTES, size - start)
    else:
        for i in range(SAMPLE_BLOCKS):
            yield (size - BLOCK_BYTES) * i // (SAMPLE_BLOCKS - 1), BLOCK_BYTES


def _image_files(image: Any) -> Iterator[tuple[str, Any]]:
    """List the files and the used extent of an image source, nested sources included."""
    for name, inner in sorted(image.items()):
        if name in FILE_FIELDS or name == "bbox":
            yield name, inner
        elif name not in _IGNORED_FIELDS:
            sources = inner if isinstance(inner, list) else [inner]
            for source in sources:
                if isinstance(source, Mapping):
                    yield from _image_files(source)


def _as_list(uris: Any) -> list[str]:
    return [uris] if isinstance(uris, str) else [str(uri) for uri in uris or ()]


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS]
