"""What a run was scored on, as short texts that are equal where the pixels are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import pyarrow as pa

from rvlab.errors import RvlabError
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
"""Columns of the table of fingerprints; see `scenes`."""

HASH_DIGITS = 16
"""Hexadecimal digits of a fingerprint."""

BLOCK_BYTES = 2**20
MAX_WHOLE_BYTES = 64 * BLOCK_BYTES
"""Images are read whole up to so many bytes, larger ones in `SAMPLES` blocks."""

SAMPLE_BLOCKS = 16

_URIS = ("uri", "uris", "aoi_uris")
_IGNORED_FIELDS = ("transformers", "channel_order", "allow_streaming")
"""What an image source says of how a model sees the pixels, not of which pixels there are."""


def fingerprint_scenes(config: Mapping[str, Any], groups: Mapping[str, Sequence[str]]) -> pa.Table:
    """A fingerprint of image, labels and areas of interest for each scene of some groups.

    They rest on the content of the files and on how labels are made of it, not on where the files
    lie: the same scenes on another machine have the same fingerprints. Labels and areas are read
    whole; of an image of more than 64 MiB its length and 16 blocks of 1 MiB, spread evenly. A file
    that cannot be read here is represented by its address, which the log says.

    Args:
        config: ``pipeline-config.json``.
        groups: A group's name -> the ids of its scenes.

    Returns:
        A row per group and scene: ``group scene image labels aois hashed_from``; `aois` is null
        where the scene has none, `hashed_from` is ``file_sha256`` or ``address``.
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
    """One fingerprint per group: of all its scenes and of the classes, null class included.

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
    """A scene's files, read once although it may be in several groups."""

    def __init__(self, part: Mapping[str, Any]) -> None:
        self._part = part
        self._by_address = False

    @cached_property
    def row(self) -> dict[str, str | None]:
        """Its fingerprints."""
        part = self._part
        image = self._with_contents(part["raster_source"], whole=False)
        labels = part.get("label_source")
        areas = [self._file(uri, whole=True) for uri in _as_list(part.get("aoi_uris"))]
        return {
            "image": _digest(list(_image_files(image))),
            "labels": _digest(self._with_contents(labels, whole=True)) if labels else None,
            "aois": _digest(sorted(areas)) if areas else None,
            "hashed_from": "address" if self._by_address else "content",
        }

    def _with_contents(self, value: Any, *, whole: bool) -> Any:
        """A part of the config with the files' contents where their addresses were."""
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
            return file_sha256(uri, whole=whole)
        except (RvlabError, OSError) as exc:
            print(
                f"{uri} cannot be read here, so the fingerprint of scene {self._part['id']!r} "
                f"rests on its address: {exc}"
            )
            self._by_address = True
            return f"address {uri}"


def file_sha256(uri: str, *, whole: bool = True) -> str:
    """SHA-256 of a file, in hexadecimal.

    Args:
        uri: A local path or anything a store opens, such as ``s3://bucket/scene.tif``.
        whole: Read all of it; else a large file's length and some blocks.

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
    """The files of an image source and the part of them that is used, nested sources included."""
    for name, inner in sorted(image.items()):
        if name in _URIS or name == "bbox":
            yield name, inner
        elif name not in _IGNORED_FIELDS:
            parts = inner if isinstance(inner, list) else [inner]
            for part in parts:
                if isinstance(part, Mapping):
                    yield from _image_files(part)


def _as_list(uris: Any) -> list[str]:
    return [uris] if isinstance(uris, str) else [str(uri) for uri in uris or ()]


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS]
