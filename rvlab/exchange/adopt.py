"""Find the folders of runs that rvlab did not start, and register them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path

from rvlab.errors import NotFound, RvlabError, SpecError, StoreUnreachable
from rvlab.exchange.adopt_predictions import PredictionArguments, register_predictions
from rvlab.exchange.adopted_run import FileSizes, ParamsLike, require_params
from rvlab.exchange.lightning import HPARAMS_FILE, METRICS_FILE, is_log_file
from rvlab.exchange.lightning_output import LightningOutput
from rvlab.exchange.rastervision_output import RasterVisionOutput
from rvlab.model import Run, validate_name
from rvlab.store import Store, rv_outputs, store_for_uri
from rvlab.store.layout import write_layout_number
from rvlab.store.rv_outputs import ADOPTED, CONFIG_FILE, folder_uri, join_key, key_below
from rvlab.user_warning import warn_user
from rvlab.worker.records import SPEC

_FILES = (CONFIG_FILE, HPARAMS_FILE, METRICS_FILE)


def adopt_folders(
    store: Store,
    uri: str | Path,
    *,
    experiment: str = ADOPTED,
    params: ParamsLike = None,
) -> list[Run]:
    """Register outputs of Raster Vision and logs of Lightning; see `rvlab.Lab.adopt`.

    Args:
        store: The store.
        uri: The folder of the outputs or logs, or one above it.
        experiment: The experiment of the runs.
        params: Parameters that the caller adds.
    """
    validate_name("experiment", experiment)
    require_params(params)
    top, home = _open_folder(store, str(uri))
    found = _find_outputs(home, key_below(home, top))
    if not found:
        raise NotFound(
            f"Neither Raster Vision's {CONFIG_FILE} nor {HPARAMS_FILE} or {METRICS_FILE} of "
            f"Lightning exists in {top} or in a folder below it."
        )
    own = store.map_concurrently(
        lambda folder: _is_run_folder(store, folder_uri(home, folder)), found
    )
    others = [folder for folder in found if not own[folder]]
    if not others:
        raise SpecError(f"{top} contains only runs of {store.uri}, which its tables already list.")

    write_layout_number(store)

    def adopt_folder(folder: str) -> Run | RvlabError:
        files = found[folder]
        is_output = any(key == join_key(folder, CONFIG_FILE) for key, _ in files)
        kind = RasterVisionOutput if is_output else LightningOutput
        try:
            return kind(home, folder, files).register(store, experiment, params)
        except StoreUnreachable:
            raise
        except RvlabError as exc:
            return exc if top in str(exc) else type(exc)(f"{folder_uri(home, folder)}: {exc}")

    with contextlib.redirect_stdout(io.StringIO()):
        done = store.map_concurrently(adopt_folder, others)
    runs = sorted(run for run in done.values() if isinstance(run, Run))
    left_out = [exc for exc in done.values() if isinstance(exc, RvlabError)]
    if not runs:
        more = f" {len(left_out)} folders cannot be adopted." if len(left_out) > 1 else ""
        raise type(left_out[0])(f"{left_out[0]}{more}")
    for exc in left_out:
        warn_user(f"{exc} This folder is left out.")
    return runs


def adopt_with_predictions(
    store: Store,
    uri: str | Path | None,
    given: PredictionArguments,
    *,
    experiment: str = ADOPTED,
    params: ParamsLike = None,
) -> Run:
    """Register predictions, with the log of their training; see `rvlab.Lab.adopt`.

    Args:
        store: The store.
        uri: The folder of the log; None without one.
        given: The predictions and their truth.
        experiment: The experiment of the run.
        params: Parameters that the caller adds.
    """
    validate_name("experiment", experiment)
    require_params(params)
    log = None if uri is None else _require_one_log(store, uri)
    write_layout_number(store)
    with contextlib.redirect_stdout(io.StringIO()):  # output that belongs in a step's log
        return register_predictions(store, experiment, params, given, log)


def _open_folder(store: Store, uri: str) -> tuple[str, Store]:
    """Return the address and the store of a folder; `uri` may also be a file in it of `_FILES`."""
    uri = uri.rstrip("/")
    for name in _FILES:
        uri = uri.removesuffix(f"/{name}")
    top = rv_outputs.normalize_folder(uri)
    return top, store if f"{top}/".startswith(f"{store.uri.rstrip('/')}/") else store_for_uri(top)


def _require_one_log(store: Store, uri: str | Path) -> LightningOutput:
    """Return the log of the one training in a folder, whose predictions are given as well."""
    top, home = _open_folder(store, str(uri))
    found = _find_outputs(home, key_below(home, top))
    if any(key == join_key(folder, CONFIG_FILE) for folder in found for key, _ in found[folder]):
        raise SpecError(
            f"{top} has outputs of Raster Vision, which include predictions. Adopt the folder "
            "without predictions."
        )
    if len(found) != 1:
        names = ", ".join(folder_uri(home, folder) for folder in list(found)[:3])
        raise SpecError(
            f"Predictions belong to one run, but {top} has {len(found) or 'no'} runs of Lightning"
            f"{f', such as {names}. Name one' if found else ''}."
        )
    ((folder, files),) = found.items()
    return LightningOutput(home, folder, files)


def _find_outputs(home: Store, start: str) -> dict[str, FileSizes]:
    """Find the folders of runs and their files: `start` itself, else all folders below it.

    Folders below outputs of Raster Vision are not runs. A folder with only event files of Lightning
    is a run unless a folder above it is one.
    """
    files = home.files(start)
    names: dict[str, set[str]] = {}
    for key, _ in files:
        folder, _, name = key.rpartition("/")
        names.setdefault(folder, set()).add(name)
    if CONFIG_FILE in names.get(start, ()):
        return {start: files}
    configs = {folder for folder, own in names.items() if CONFIG_FILE in own}
    logs = {
        folder
        for folder, own in names.items()
        if own & {HPARAMS_FILE, METRICS_FILE} and _nearest(folder, configs) is None
    }
    for folder in sorted(names):  # a folder comes after those above it
        if any(map(is_log_file, names[folder])) and _nearest(folder, configs | logs) is None:
            logs.add(folder)
    if start in logs:
        return {start: files}
    found: dict[str, list[tuple[str, int]]] = {folder: [] for folder in sorted(configs | logs)}
    for key, size in files:
        nearest = _nearest(_above(key), found)
        if nearest is not None:
            found[nearest].append((key, size))
    return dict(found)


def _above(key: str) -> str:
    return key.rpartition("/")[0]


def _nearest(folder: str, folders: Mapping[str, object] | set[str]) -> str | None:
    """Return `folder` or the nearest folder above it that is in `folders`; None without one."""
    while folder not in folders:
        if not folder:
            return None
        folder = _above(folder)
    return folder


def _is_run_folder(store: Store, uri: str) -> bool:
    """Return whether a URI is the folder ``rv/`` of a run of the store."""
    if not uri.startswith(f"{store.uri.rstrip('/')}/"):
        return False
    parts = store.key(uri).split("/")
    return len(parts) == 3 and parts[2] == "rv" and store.exists("/".join((*parts[:2], SPEC)))
