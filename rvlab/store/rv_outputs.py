"""Raster Vision's output files of a run: below the run, or in the folder of an adopted run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rvlab.errors import KeyMissing, RecordBroken, SpecError
from rvlab.model import Run, Spec
from rvlab.model.limits import CONFIG_BYTES
from rvlab.store.addresses import mark_if_refused, require_not_refused, store_for_uri
from rvlab.store.rv_config_upgrade import upgrade_rv_config
from rvlab.store.store import Store, normalize_uri, parse_record

CONFIG_FILE = "pipeline-config.json"

COPIES_FOLDER = "copies"
"""Folder of a run for compressed, tiled copies of its predictions."""

ADOPTED = "adopted"
"""Engine of adopted runs, whose outputs remain in their original folder."""

LIGHTNING = "lightning"
"""Recipe of adopted runs of Lightning."""

URI_SCHEMES = ("", "s3", "gs", "gcs", "az", "abfs", "abfss", "memory")
"""Schemes that an address of outputs may have; a record cannot name any other."""


def read_rv_config(store: Store, run: Run) -> dict[str, Any]:
    """Read a run's ``pipeline-config.json``, with addresses adapted to its present location.

    Outputs that were moved contain their original addresses. Each address below the config's own
    ``root_uri`` is replaced by the same path below the folder in which the config was found.

    Args:
        store: The store of the run, or one that contains it.
        run: The run. Its spec is read only if the run has no config of its own, to see whether it
            was adopted.

    Raises:
        KeyMissing: If the run has no config.
        RasterError: If its folder must not be opened; see `rvlab.store.addresses`.
        RecordBroken: If it is not a complete JSON object, or has changed since it was adopted.
        StoreUnreachable: If the store does not answer.
    """
    where = run.rv_uri
    try:
        return relocate_config(
            parse_record(
                f"{where}/{CONFIG_FILE}",
                store.get(_run_key(store, run, "rv", CONFIG_FILE), limit=CONFIG_BYTES),
            ),
            where,
        )
    except KeyMissing as exc:
        spec = _spec_if_adopted(store, run)
        if spec is None:
            raise KeyMissing(f"{where}/{CONFIG_FILE} does not exist.") from exc
    where = normalize_folder(spec.places.get("root_uri", ""))
    if spec.recipe == LIGHTNING:
        raise KeyMissing(f"The run {run.id} has no predictions: it was adopted from {where}.")
    require_not_refused(mark_if_refused(where, store))
    home = store_for_uri(where)
    try:
        data = home.get(key_below(home, where, CONFIG_FILE), limit=CONFIG_BYTES)
    except KeyMissing as exc:
        raise KeyMissing(f"{where}/{CONFIG_FILE} does not exist.") from exc
    if hashlib.sha256(data).hexdigest() != spec.source_sha256:
        raise RecordBroken(
            f"{where}/{CONFIG_FILE} has changed since the run {run.id} was adopted. "
            "Adopt the folder again."
        )
    return upgrade_and_relocate_config(parse_record(f"{where}/{CONFIG_FILE}", data), where)


def upgrade_and_relocate_config(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return a config of any version of Raster Vision from 0.12 on, relocated to its folder."""
    return {k: upgrade_rv_config(v) for k, v in relocate_config(config, where).items()}


def relocate_config(config: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Return a config in which addresses below its ``root_uri`` are moved to another folder."""
    old = str(config.get("root_uri") or "").rstrip("/")
    if old in ("", folder):
        return dict(config)
    return {name: _relocate(inner, old, folder) for name, inner in config.items()}


def normalize_folder(uri: str | Path) -> str:
    """Return the normalized address of a folder of outputs.

    Raises:
        SpecError: If outputs cannot have this address.
    """
    found = normalize_uri(uri)
    if urlsplit(found).scheme not in URI_SCHEMES or ".." in found.split("/"):
        raise SpecError(
            f"{str(uri)!r} cannot be a folder of outputs. Give a folder or s3://bucket/prefix."
        )
    return found


def key_below(store: Store, uri: str, *parts: str) -> str:
    """Return the key of a URI, or of a path below it, in the store that contains it."""
    prefix = () if uri == store.uri else (store.key(uri),)
    return "/".join((*prefix, *parts))


def folder_uri(store: Store, folder: str) -> str:
    """Return the address of a folder, given its key; the key of the store's root is empty."""
    return f"{store.uri.rstrip('/')}/{folder}".rstrip("/")


def join_key(folder: str, name: str) -> str:
    """Return the key of a file in a folder, whose key is empty for the store's root."""
    return f"{folder}/{name}" if folder else name


def _run_key(store: Store, run: Run, *parts: str) -> str:
    return run.key(*parts) if run.store == store.uri else key_below(store, run.uri, *parts)


def _spec_if_adopted(store: Store, run: Run) -> Spec | None:
    key = _run_key(store, run, "spec.json")
    try:
        spec = Spec.from_record(store.get_json(key), key)
    except KeyMissing:
        return None
    return spec if spec.engine == ADOPTED else None


def _relocate(value: Any, old: str, new: str) -> Any:
    if isinstance(value, str):
        return f"{new}{value[len(old) :]}" if f"{value}/".startswith(f"{old}/") else value
    if isinstance(value, Mapping):
        return {name: _relocate(inner, old, new) for name, inner in value.items()}
    if isinstance(value, list):
        return [_relocate(inner, old, new) for inner in value]
    return value
