"""Fingerprints of scored scenes: short texts that are equal where the data is equal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import pyarrow as pa

from rvlab.errors import RvlabError
from rvlab.raster.sidecars import sidecar_fingerprints
from rvlab.store.store import normalize_uri, store_for_uri

SCENES_SCHEMA = pa.schema(
    [
        ("group", pa.string()),
        ("scene", pa.string()),
        ("image", pa.string()),
        ("labels", pa.string()),
        ("aois", pa.string()),
        ("hashed_from", pa.string()),
    ]
)
"""Columns of the table of fingerprints; see `fingerprint_scenes`."""

HASH_DIGITS = 16
"""Hexadecimal digits of a fingerprint."""

BLOCK_BYTES = 2**20
MAX_WHOLE_BYTES = 64 * BLOCK_BYTES
"""Larger images are hashed from `SAMPLE_BLOCKS` blocks instead of all their bytes."""

SAMPLE_BLOCKS = 16

_URIS = ("uri", "uris", "aoi_uris")
_IGNORED_FIELDS = ("transformers", "channel_order", "allow_streaming")
"""Fields of an image source that change how a model sees the pixels, not the pixels themselves."""


def fingerprint_scenes(config: Mapping[str, Any], groups: Mapping[str, Sequence[str]]) -> pa.Table:
    """Return fingerprints of image, labels and areas of interest for each scene of some groups.

    They are computed from the content of the files and from how labels are derived from it, not
    from the location of the files: the same scenes on another machine have the same fingerprints.
    Labels and areas are hashed completely; for an image of more than 64 MiB only its size and 16
    evenly spaced blocks of 1 MiB are. A file that cannot be read is represented by its address,
    and the log says so.

    Args:
        config: ``pipeline-config.json``.
        groups: A group's name -> the ids of its scenes.

    Returns:
        A row per group and scene: ``group scene image labels aois hashed_from``; `aois` is null
        where the scene has none, `hashed_from` is ``content`` or ``address``.
    """
    data = config["dataset"]
    known = {
        str(scene["id"]): _Scene(scene)
        for kind in ("train", "validation", "test")
        for scene in data.get(f"{kind}_scenes") or []
    }
    rows = [
        {"group": group, "scene": name, **known[name].row}
        for group, names in groups.items()
        for name in sorted(names)
        if name in known
    ]
    return pa.Table.from_pylist(rows, schema=SCENES_SCHEMA)


def eval_sets(table: pa.Table, class_config: Mapping[str, Any]) -> dict[str, str]:
    """Return one fingerprint per group, of all its scenes and the classes, null class included.

    Args:
        table: As `fingerprint_scenes` returns it.
        class_config: ``dataset.class_config`` of ``pipeline-config.json``.
    """
    classes = [list(class_config["names"]), class_config.get("null_class")]
    found: dict[str, list[Any]] = {}
    for row in table.to_pylist():
        parts = [row[name] for name in ("scene", "image", "labels", "aois")]
        found.setdefault(row["group"], []).append(parts)
    return {group: _digest([classes, sorted(rows, key=str)]) for group, rows in found.items()}


class _Scene:
    """The files of a scene, read once even if the scene is in several groups."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._by_address = False

    @cached_property
    def row(self) -> dict[str, str | None]:
        """The fingerprints of the scene, a row without group and name."""
        config = self._config
        image = self._with_contents(config["raster_source"], whole=False)
        labels = config.get("label_source")
        areas = [self._file(uri, whole=True) for uri in _as_list(config.get("aoi_uris"))]
        return {
            "image": _digest(list(_image_files(image))),
            "labels": _digest(self._with_contents(labels, whole=True)) if labels else None,
            "aois": _digest(sorted(areas)) if areas else None,
            "hashed_from": "address" if self._by_address else "content",
        }

    def _with_contents(self, value: Any, *, whole: bool) -> Any:
        """Return a section of the config with each file's hash in place of its address."""
        if isinstance(value, Mapping):
            return {
                name: [self._file(uri, whole=whole) for uri in _as_list(inner)]
                if name in _URIS
                else self._with_contents(inner, whole=whole)
                for name, inner in sorted(value.items())
                if inner is not None
            }
        if isinstance(value, list):
            return [self._with_contents(inner, whole=whole) for inner in value]
        return value

    def _file(self, uri: str, *, whole: bool) -> str:
        try:
            found = file_sha256(uri, whole=whole)
            beside = sidecar_fingerprints(uri)
            return _digest([found, *beside]) if beside else found
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
        whole: Read all bytes; otherwise only some blocks of a large file.

    Raises:
        StoreError: If it cannot be read.
    """
    store = store_for_uri(uri)
    key = store.key(normalize_uri(uri))
    size = store.size(key)
    made = hashlib.sha256(str(size).encode())
    for start, length in _blocks(size, whole):
        made.update(store.get_range(key, start, length))
    return made.hexdigest()


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
        if name in _URIS or name == "bbox":
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
