"""Registration of existing Raster Vision outputs as runs, without copying them."""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

from rvlab.errors import (
    KeyExists,
    KeyMissing,
    NotFound,
    RecordBroken,
    RvlabError,
    SpecError,
    StoreUnreachable,
)
from rvlab.model import Run, Spec, end_record, validate_name
from rvlab.recipes.literals import json_value
from rvlab.store import Store, outputs, parse_record, store_for_uri
from rvlab.store.layout import record_layout
from rvlab.store.outputs import ADOPTED_FIELD, CONFIG_FILE, key_below
from rvlab.store.run_listing import finish_run
from rvlab.submission import current_user
from rvlab.user_warning import warn_user
from rvlab.version import __version__
from rvlab.worker.records import SPEC
from rvlab.worker.summarize import (
    VALIDATION_SCENES,
    build_tables,
    evaluated_groups,
    write_tables,
)

ParamsLike: TypeAlias = Mapping[str, Any] | Callable[[dict[str, Any]], Mapping[str, Any]] | None
FileSizes: TypeAlias = Sequence[tuple[str, int]]

CONFIG_SECTIONS = ("solver", "model", "data")
"""Sections of the config's ``backend`` whose plain values become parameters."""

_NOT_PARAMETERS = (
    "type_hint",
    "uri",
    "group_uris",
    "class_config",
    "plot_options",
    "scene_dataset",
)
_EVAL_PATH = re.compile(r"eval/(?:([^/]+)/)?eval\.json")


def adopt(
    store: Store, uri: str | Path, *, experiment: str = ADOPTED_FIELD, params: ParamsLike = None
) -> list[Run]:
    """Register outputs of Raster Vision as runs of a store; see `rvlab.Lab.adopt`."""
    validate_name("experiment", experiment)
    if not (params is None or callable(params) or isinstance(params, Mapping)):
        raise SpecError(f"params must be a dict or a function of the config, got {params!r:.100}.")
    top = outputs.normalize_folder(str(uri).rstrip("/").removesuffix(f"/{CONFIG_FILE}"))
    home = store if f"{top}/".startswith(f"{store.uri.rstrip('/')}/") else store_for_uri(top)
    found = _find_outputs(home, key_below(home, top))
    if not found:
        raise NotFound(f"No {CONFIG_FILE} exists in {top} or in a folder below it.")
    own = store.map_concurrently(
        lambda folder: _is_run_folder(store, _folder_uri(home, folder)), found
    )
    others = [folder for folder in found if not own[folder]]
    if not others:
        raise SpecError(f"{top} contains only runs of {store.uri}, which its tables already list.")

    record_layout(store)

    def adopt_folder(folder: str) -> Run | RvlabError:
        try:
            return _Output(home, folder, found[folder]).adopt(store, experiment, params)
        except StoreUnreachable:
            raise
        except RvlabError as exc:
            return exc if top in str(exc) else type(exc)(f"{_folder_uri(home, folder)}: {exc}")

    with contextlib.redirect_stdout(io.StringIO()):  # output that belongs in a step's log
        done = store.map_concurrently(adopt_folder, others)
    runs = sorted(run for run in done.values() if isinstance(run, Run))
    left_out = [exc for exc in done.values() if isinstance(exc, RvlabError)]
    if not runs:
        more = f" {len(left_out)} folders cannot be adopted." if len(left_out) > 1 else ""
        raise type(left_out[0])(f"{left_out[0]}{more}")
    for exc in left_out:
        warn_user(f"{exc} This folder is left out.")
    return runs


class _Output:
    """A folder of outputs with its config and evaluations.

    Args:
        home: The store through which it is read.
        folder: Its key in this store.
        files: Keys and sizes in bytes of all files below it.
    """

    def __init__(self, home: Store, folder: str, files: FileSizes) -> None:
        self.home, self.folder, self.files = home, folder, files
        self.uri = _folder_uri(home, folder)
        self.config_key = _join(folder, CONFIG_FILE)
        self.text = home.get(self.config_key)
        self.config = _validate_config(
            parse_record(f"{self.uri}/{CONFIG_FILE}", self.text), self.uri
        )
        self.evals = self._evals()

    def _evals(self) -> dict[str, str]:
        """Return the ``eval.json`` of each group of scenes, by the config, else by the usual path.

        Raises:
            NotFound: If the outputs have not been evaluated.
        """
        found = evaluated_groups(self.home, self.config, self.files)
        if not found:
            start = len(_join(self.folder, ""))
            names = {key: _EVAL_PATH.fullmatch(key[start:]) for key, _ in self.files}
            found = {match[1] or VALIDATION_SCENES: key for key, match in names.items() if match}
        if not found:
            raise NotFound(
                f"{self.uri} has not been evaluated: it has no eval/*/eval.json. Run its step "
                "eval, or wait if it is still running."
            )
        return found

    def adopt(self, store: Store, experiment: str, params: ParamsLike) -> Run:
        """Write the records of its run, unless they exist already."""
        created = self.home.last_modified(self.config_key)
        digest = self._run_id(experiment)[:6]
        run = Run(store.uri, experiment, f"{created:%Y%m%d-%H%M%S}-{digest}")
        if store.exists(run.end_key):
            return run
        spec = Spec(
            experiment=experiment,
            run=run.id,
            name=self.uri.rpartition("/")[2],
            recipe=str(self.config.get("type_hint") or "pipeline").removesuffix("_config"),
            source_sha256=hashlib.sha256(self.text).hexdigest(),
            params=_config_params(self.config, params),
            places={"root_uri": self.uri},
            splits=1,
            seed=0,
            engine=ADOPTED_FIELD,
            created=_iso_time(created),
            user=current_user(),
            rvlab=__version__,
        )
        try:
            tables, summary = build_tables(
                self.home, self.folder, self.config, self.files, self.evals, named=self.uri
            )
        except (KeyError, TypeError, AttributeError) as exc:
            raise RecordBroken(
                f"{self.uri} is not valid output of Raster Vision: {exc!r}."
            ) from exc
        for problem in summary.problems:
            warn_user(
                f"{self.uri}: {problem} The run has an evaluation set of its own.",
            )
        evaluated = [self.home.last_modified(key) for key in self.evals.values()]
        end = end_record(
            spec.record(),
            "succeeded",
            _iso_time(max([created, *evaluated])),
            started=spec.created,
            metrics=summary.metrics,
            costs={"bytes": sum(size for _, size in self.files)},
            eval_sets=summary.eval_sets,
        )
        write_tables(store, run, tables)
        store.put_json(run.key(SPEC), spec.record())
        with contextlib.suppress(KeyExists):  # another process adopts it at the same time
            finish_run(store, run, end)
        return run

    def _run_id(self, experiment: str) -> str:
        """Return a digest of the experiment, the URI and the files.

        It includes the experiment because ids are unique in a store, and tables are joined on them.
        Each input is preceded by its length, so that different inputs give different data.
        """
        keys = [_join(self.folder, "train/log.csv"), *sorted(self.evals.values())]
        inputs = [experiment.encode(), self.uri.encode(), self.text]
        for key in keys:
            try:
                inputs.append(self.home.get(key))
            except KeyMissing:
                inputs.append(b"")
        digest = hashlib.sha256()
        for data in inputs:
            digest.update(f"{len(data)} ".encode() + data)
        return digest.hexdigest()


def _find_outputs(home: Store, start: str) -> dict[str, list[tuple[str, int]]]:
    """Find folders with a config, and their files: `start` itself, else all folders below it."""
    files = home.files(start)
    folders = {key.rpartition("/")[0] for key, _ in files if key.rpartition("/")[2] == CONFIG_FILE}
    if start in folders:
        return {start: files}
    found: dict[str, list[tuple[str, int]]] = {folder: [] for folder in sorted(folders)}
    for key, size in files:
        above = key.rpartition("/")[0]
        while above not in found and above:
            above = above.rpartition("/")[0]
        if above in found:
            found[above].append((key, size))
    return found


def _is_run_folder(store: Store, uri: str) -> bool:
    """Return whether a URI is the folder ``rv/`` of a run of the store."""
    if not uri.startswith(f"{store.uri.rstrip('/')}/"):
        return False
    parts = store.key(uri).split("/")
    return len(parts) == 3 and parts[2] == "rv" and store.exists("/".join((*parts[:2], SPEC)))


def _folder_uri(home: Store, folder: str) -> str:
    return f"{home.uri.rstrip('/')}/{folder}".rstrip("/")


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _iso_time(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")


def _validate_config(config: Mapping[str, Any], uri: str) -> dict[str, Any]:
    data = config.get("dataset")
    if not isinstance(data, Mapping) or not isinstance(data.get("class_config"), Mapping):
        raise RecordBroken(
            f"{uri}/{CONFIG_FILE} is not a pipeline config of Raster Vision: it has no "
            "dataset.class_config."
        )
    return outputs.load_adopted_config(config, uri)


def _config_params(config: dict[str, Any], given: ParamsLike) -> dict[str, Any]:
    own: Mapping[str, Any]
    if callable(given):
        own = given(config)
        if not isinstance(own, Mapping):
            raise SpecError(
                f"The function params must return a dict of names and values, got {own!r:.100}."
            )
    else:
        backend = config.get("backend")
        found = backend if isinstance(backend, Mapping) else {}
        own = {
            **{k: v for name in CONFIG_SECTIONS for k, v in _flatten_values(name, found.get(name))},
            **(given or {}),
        }
    return {str(k): json_value(v, f"the parameter {str(k)!r}") for k, v in own.items()}


def _flatten_values(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield text, numbers and booleans with their dotted names; skip lists and missing values."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name not in _NOT_PARAMETERS:
                yield from _flatten_values(f"{path}.{name}", inner)
    elif isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        yield path, value
