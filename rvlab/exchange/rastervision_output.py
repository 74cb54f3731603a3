"""Outputs of Raster Vision in a folder, and their registration as a run."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from threading import Lock
from typing import Any

from rvlab.errors import KeyMissing, NotFound, RecordBroken
from rvlab.exchange.adopted_run import (
    AdoptedResults,
    AdoptedRun,
    FileSizes,
    ParamsLike,
    adopted_run_id,
    merge_params,
    write_adopted_run,
)
from rvlab.model import Run
from rvlab.store import Store, parse_record, rv_outputs
from rvlab.store.rv_outputs import CONFIG_FILE, folder_uri, join_key
from rvlab.user_warning import warn_user
from rvlab.worker.score_scenes import score_scenes
from rvlab.worker.summarize import (
    VALIDATION_SCENES,
    build_tables,
    evaluated_groups,
    results_of_counts,
)

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

_counting = Lock()
"""Held while scenes are counted, since each needs much memory."""


class RasterVisionOutput:
    """A folder of outputs with its config and evaluations.

    Args:
        home: The store through which it is read.
        folder: Its key in this store.
        files: Keys and sizes in bytes of all files below it.

    Raises:
        RecordBroken: If its config is invalid.
        NotFound: If it has not been evaluated.
    """

    def __init__(self, home: Store, folder: str, files: FileSizes) -> None:
        self.home, self.folder, self.files = home, folder, files
        self.uri = folder_uri(home, folder)
        self.config_key = join_key(folder, CONFIG_FILE)
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
            start = len(join_key(self.folder, ""))
            names = {key: _EVAL_PATH.fullmatch(key[start:]) for key, _ in self.files}
            found = {match[1] or VALIDATION_SCENES: key for key, match in names.items() if match}
        if not found:
            raise NotFound(
                f"{self.uri} has not been evaluated: it has no eval/*/eval.json. Run its step "
                "eval, or wait if it is still running."
            )
        return found

    def register(self, store: Store, experiment: str, params: ParamsLike) -> Run:
        """Write the records of its run, unless they exist already."""
        created = self.home.last_modified(self.config_key)
        run = Run(store.uri, experiment, adopted_run_id(created, self._identity(experiment)))
        if store.exists(run.end_key):
            return run
        adopted = AdoptedRun(
            run=run,
            name=self.uri.rpartition("/")[2],
            recipe=str(self.config.get("type_hint") or "pipeline").removesuffix("_config"),
            params=merge_params(_backend_params(self.config), params, self.config),
            source_sha256=hashlib.sha256(self.text).hexdigest(),
            created=created,
            root_uri=self.uri,
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
            warn_user(f"{self.uri}: {problem} The run has an evaluation set of its own.")
        with _counting:
            scores = score_scenes(store, run, self.config, copy=False, home=self.home)
        counted_tables, counted_metrics = results_of_counts(scores, tables)
        # Incomplete counts are not stored: a scene that cannot be read now may be readable later.
        tables |= {
            name: table for name, table in counted_tables.items() if not scores.omitted.get(name)
        }
        evaluated = [self.home.last_modified(key) for key in self.evals.values()]
        results = AdoptedResults(
            ended=max([created, *evaluated]),
            tables=tables,
            metrics={**summary.metrics, **counted_metrics},
            eval_sets=summary.eval_sets,
            size_bytes=sum(size for _, size in self.files),
        )
        write_adopted_run(store, adopted, results)
        return run

    def _identity(self, experiment: str) -> Iterator[bytes]:
        """Yield the experiment, the URI and the contents of the files."""
        yield from (experiment.encode(), self.uri.encode(), self.text)
        for key in (join_key(self.folder, "train/log.csv"), *sorted(self.evals.values())):
            try:
                yield self.home.get(key)
            except KeyMissing:
                yield b""


def _validate_config(config: Mapping[str, Any], uri: str) -> dict[str, Any]:
    data = config.get("dataset")
    if not isinstance(data, Mapping) or not isinstance(data.get("class_config"), Mapping):
        raise RecordBroken(
            f"{uri}/{CONFIG_FILE} is not a pipeline config of Raster Vision: it has no "
            "dataset.class_config."
        )
    return rv_outputs.upgrade_and_relocate_config(config, uri)


def _backend_params(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plain values of `CONFIG_SECTIONS`."""
    backend = config.get("backend")
    found = backend if isinstance(backend, Mapping) else {}
    return {k: v for name in CONFIG_SECTIONS for k, v in _flatten_values(name, found.get(name))}


def _flatten_values(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield text, numbers and booleans with their dotted names; skip lists and missing values."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name not in _NOT_PARAMETERS:
                yield from _flatten_values(f"{path}.{name}", inner)
    elif isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        yield path, value
