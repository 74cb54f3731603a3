"""Find the code that a bundle of Raster Vision would execute, before it is loaded."""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import rvlab.recipes
from rvlab.errors import SpecError, StoreError
from rvlab.model.limits import BUNDLE_BYTES, BUNDLE_FILES, CONFIG_BYTES, too_large

INNER_BUNDLE = "model-bundle.zip"
WEIGHTS = "model.pth"

_DATA_ENDINGS = (".json", ".zip", ".pth", ".onnx", ".csv", ".png", ".tif", ".txt", ".xml")
_OWN_MODELS = ("unet", "convnet", "detector")
_NOT_READABLE = (
    *(zipfile.BadZipFile, zlib.error, EOFError),
    *(KeyError, ValueError),  # a file is missing, JSON is invalid
    RuntimeError,  # encrypted, an unknown compression, JSON that is nested too deeply
)


def require_safe_bundle(bundle: Path, folder: Path, run: str, *, trust_code: bool) -> None:
    """Refuse a bundle that would execute code when its model is loaded; unpack its inner bundle.

    See `require_trusted_code`. Weights are read as tensors only.

    Raises:
        SpecError: If the bundle contains other code, and it is not trusted.
        StoreError: If it is not a bundle of Raster Vision, is too large, or its weights are not
            tensors alone.
    """
    require_trusted_code(bundle, folder, run, trust_code=trust_code)
    _require_tensors(folder / "inner" / WEIGHTS, run)


def require_trusted_code(bundle: Path, folder: Path, run: str, *, trust_code: bool) -> None:
    """Refuse a bundle with code that is not trusted; unpack its inner bundle. Needs no torch.

    Code means a file that is not data, or a setting that Raster Vision imports or evaluates. The
    model definitions of rvlab's own recipes are accepted if they are identical to those of this
    package.

    Args:
        bundle: The bundle of a run, ``bundle/model-bundle.zip``.
        folder: Where the inner bundle is written, in the folder ``inner``.
        run: The id of the run, for messages.
        trust_code: Whether Python code in the bundle may be executed.

    Raises:
        SpecError: If the bundle contains other code, and it is not trusted.
        StoreError: If it is not a bundle of Raster Vision, or is too large.
    """
    code = unpack_bundle(bundle, folder, run)
    if code is not None and not trust_code:
        raise SpecError(
            f"The bundle of the run {run} contains {code}, which loading the model executes. "
            "Pass trust_code=True if you trust everyone who can write to the store."
        )


def unpack_bundle(bundle: Path, folder: Path, run: str) -> str | None:
    """Check a bundle and unpack its inner bundle; return code that loading it would execute.

    Arguments and errors are those of `require_trusted_code`.
    """
    inner = folder / "inner" / INNER_BUNDLE
    try:
        with zipfile.ZipFile(bundle) as archive:
            _require_plain(archive, run)
            archive.extract(INNER_BUNDLE, inner.parent)
            with zipfile.ZipFile(inner) as model:
                _require_plain(model, run)
                code = list(_code_in(archive, model))
                model.extract(WEIGHTS, inner.parent)
    except StoreError:
        raise
    except _NOT_READABLE as exc:
        raise _not_a_bundle(run, exc) from exc
    return code[0] if code else None


def read_bundle_config(
    bundle: Path, run: str, name: str = "pipeline-config.json"
) -> dict[str, Any]:
    """Return a config of a bundle that `require_trusted_code` or `unpack_bundle` has checked.

    Raises:
        StoreError: If it has none.
    """
    try:
        with zipfile.ZipFile(bundle) as archive:
            found = json.loads(archive.read(name))
    except _NOT_READABLE as exc:
        raise _not_a_bundle(run, exc) from exc
    if not isinstance(found, dict):
        raise _not_a_bundle(run, f"its {name} is not an object")
    return found


def _require_tensors(weights: Path, run: str) -> None:
    import pickle

    import torch

    try:
        torch.load(weights, map_location="meta", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as exc:
        raise StoreError(
            f"The weights of the run {run} cannot be read as tensors alone: "
            f"{str(exc).splitlines()[0]}"
        ) from exc


def _not_a_bundle(run: str, why: object) -> StoreError:
    return StoreError(f"The bundle of the run {run} is not one of Raster Vision: {why}.")


def _require_plain(archive: zipfile.ZipFile, run: str) -> None:
    """Require an archive with plain and unique names, within the limits.

    Each file is then unpacked where its name says, and none replaces one that was checked.

    Raises:
        StoreError: If it has other names, too many files, or is too large unpacked.
    """
    entries = archive.infolist()
    if len(entries) > BUNDLE_FILES:
        too_large(f"The bundle of the run {run}", len(entries), BUNDLE_FILES, "files")
    total = sum(entry.file_size for entry in entries)
    if total > BUNDLE_BYTES:
        too_large(f"The bundle of the run {run}", total, BUNDLE_BYTES, "bytes unpacked")
    seen: set[str] = set()
    for entry in entries:
        name = entry.filename.removesuffix("/")
        if "\\" in name or any(part in ("", ".", "..") for part in name.split("/")):
            raise _not_a_bundle(run, f"it has a file named {entry.filename!r}")
        if name.casefold() in seen:
            raise _not_a_bundle(run, f"it has two files named {entry.filename!r}")
        seen.add(name.casefold())


def _code_in(outer: zipfile.ZipFile, model: zipfile.ZipFile) -> Iterator[str]:
    """Yield what could be executed, except the models of rvlab's own recipes."""
    parts = [PurePosixPath(name).parts for name in model.namelist()]
    definitions = {p[1] for p in parts if len(p) == 3 and (p[0], p[2]) == ("modules", "hubconf.py")}
    for archive in (outer, model):
        yield from _code_files(archive)
        for entry in archive.infolist():
            if entry.filename.endswith(".json"):
                if entry.file_size > CONFIG_BYTES:
                    too_large(entry.filename, entry.file_size, CONFIG_BYTES)
                text = archive.read(entry).decode("utf-8")
                for found in _code_settings(json.loads(text), definitions):
                    yield f"{found} in {entry.filename}"


def _code_files(archive: zipfile.ZipFile) -> Iterator[str]:
    own = [Path(rvlab.recipes.__file__).with_name(f"{name}.py") for name in _OWN_MODELS]
    sizes = {path.stat().st_size for path in own}
    digests = {_digest(path.read_bytes()) for path in own}
    for entry in archive.infolist():
        name = entry.filename
        is_module = "/modules/" in f"/{name}"
        if name.endswith("/") or (name.endswith(_DATA_ENDINGS) and not is_module):
            continue
        is_own = name.endswith("/hubconf.py") and entry.file_size in sizes
        if not is_own or _digest(archive.read(entry)) not in digests:
            yield name


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _code_settings(config: object, definitions: set[str]) -> Iterator[str]:
    """Yield the settings of a config that Raster Vision imports or evaluates.

    Args:
        config: The parsed JSON.
        definitions: The folders in ``modules`` of the bundle that hold a ``hubconf.py``.
    """
    remaining = [config]
    while remaining:
        value = remaining.pop()
        if isinstance(value, list):
            remaining += value
        if not isinstance(value, dict):
            continue
        remaining += value.values()
        if value.get("lambda_transforms_path") is not None:
            yield f"lambda_transforms_path {value['lambda_transforms_path']!r:.100}"
        filters = value.get("class_id_to_filter")
        if filters is not None and _may_leave_quotes(filters):
            yield "an unusual class_id_to_filter"
        for name in ("external_def", "external_loss_def"):
            if value.get(name) is not None and not _is_own_definition(value[name], definitions):
                yield f"{name} with a definition of its own"
        if value.get("type_hint") == "external-module" and not _is_own_definition(
            value, definitions
        ):
            yield "an external module with a definition of its own"


def _is_own_definition(value: Any, definitions: set[str]) -> bool:
    """Return whether a definition is a model of rvlab's recipes, in the folder that is used."""
    if not isinstance(value, dict) or value.get("entrypoint") not in _OWN_MODELS:
        return False
    name, uri = value.get("name"), value.get("uri")
    if name is None and isinstance(uri, str):
        name = PurePosixPath(uri).stem  # as get_hubconf_dir_from_cfg
    return isinstance(name, str) and name in definitions


def _may_leave_quotes(filters: object) -> bool:
    """Return whether a text of a filter ends the quotes in which Raster Vision evaluates it."""
    remaining = [filters]
    while remaining:
        value = remaining.pop()
        if isinstance(value, list):
            remaining += value
        elif isinstance(value, dict):
            remaining += value.values()
        elif isinstance(value, str) and any(mark in value for mark in '"\\\n'):
            return True
    return False
