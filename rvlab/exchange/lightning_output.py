"""The log folder of a training run of Lightning, and its registration as a run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import pyarrow as pa

from rvlab.exchange.adopted_run import (
    AdoptedResults,
    AdoptedRun,
    FileSizes,
    ParamsLike,
    adopted_run_id,
    merge_params,
    write_adopted_run,
)
from rvlab.exchange.history_rows import count_epochs, last_values
from rvlab.exchange.lightning import is_log_file, read_lightning_run, run_name
from rvlab.model import Run
from rvlab.model.tables import ARTIFACTS_TABLE
from rvlab.store import Store
from rvlab.store.rv_outputs import LIGHTNING, folder_uri
from rvlab.store.table_file import rows_to_arrow
from rvlab.worker.artifacts import list_artifacts
from rvlab.worker.fingerprint import file_sha256


class LightningOutput:
    """A log folder with its hyperparameters, history and files.

    Args:
        home: The store through which it is read.
        folder: Its key in this store.
        files: Keys and sizes in bytes of all files below it.
    """

    def __init__(self, home: Store, folder: str, files: FileSizes) -> None:
        self.home, self.folder, self.files = home, folder, files
        self.uri = folder_uri(home, folder)
        self.name = run_name(self.uri)
        self.log = read_lightning_run(home, folder, [key for key, _ in files])

    @property
    def params(self) -> dict[str, Any]:
        """The hyperparameters with dotted names."""
        return dict(_flatten_hparams("", self.log.hparams))

    @cached_property
    def digest(self) -> str:
        """A digest of the log files."""
        names = [key for key, _ in self.files if is_log_file(key.rpartition("/")[2])]
        return " ".join(file_sha256(folder_uri(self.home, key)) for key in sorted(names))

    @property
    def last_metrics(self) -> dict[str, float]:
        """The last value of each metric."""
        return {} if self.log.history is None else last_values(self.log.history)

    def artifacts(self) -> pa.Table:
        """List the files; checkpoints are listed, never opened."""
        listed = list_artifacts(self.files, self.folder, self.uri).to_pylist()
        return rows_to_arrow(ARTIFACTS_TABLE, [{**row, "step": "train"} for row in listed])

    def register(self, store: Store, experiment: str, params: ParamsLike) -> Run:
        """Write the records of its run, unless they exist already."""
        log = self.log
        created, ended = log.times
        identity = (one.encode() for one in (experiment, self.uri, self.digest))
        run = Run(store.uri, experiment, adopted_run_id(created, identity))
        if store.exists(run.end_key):
            return run
        adopted = AdoptedRun(
            run=run,
            name=self.name,
            recipe=LIGHTNING,
            params=merge_params(self.params, params, dict(log.hparams)),
            source_sha256="",
            created=created,
            root_uri=self.uri,
        )
        tables = {"artifacts": self.artifacts()}
        if log.history is not None:
            tables["history"] = log.history
        results = AdoptedResults(
            ended=ended,
            tables=tables,
            metrics=self.last_metrics,
            size_bytes=sum(size for _, size in self.files),
            epochs=None if log.history is None else count_epochs(log.history),
        )
        write_adopted_run(store, adopted, results)
        return run


def _flatten_hparams(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield values with dotted names; NaN and infinity, which JSON lacks, become text."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flatten_hparams(f"{path}.{name}" if path else str(name), inner)
    elif path:
        yield path, _finite(value)


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(one) for one in value]
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
