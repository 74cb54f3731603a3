"""Raster Vision's configs of runs as a table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rvlab.cache.dtypes import as_inferred_dtype
from rvlab.errors import KeyMissing, RasterError, RecordBroken, RvlabError
from rvlab.frame.input_tables import RunsLike, run_addresses, store_of
from rvlab.model import Run
from rvlab.store import read_spec, rv_outputs
from rvlab.user_warning import warn_user

if TYPE_CHECKING:
    import pandas as pd

SCENE_GROUP_PREFIXES = ("dataset.scene_groups.",)
"""Keys below which Raster Vision has sets, which it writes in arbitrary order."""


def configs(runs: RunsLike, *, every: bool = False) -> pd.DataFrame:
    """Return the flattened ``pipeline-config.json`` of runs, one column per key that differs.

    Addresses do not count as differences: the URI of a run is replaced by ``{run}`` and the folder
    of its scenes by ``{data}``. Nor does the order of scenes and sets: scenes are named by their
    ids, as in ``dataset.train_scenes[town-0].aoi_uris``, and sets are sorted. Other lists are JSON
    text.

    Args:
        runs: A table with the column ``uri``, or one or more runs.
        every: Return all keys, also those that are equal in all runs.

    Returns:
        Index ``run``. A run that has not been configured has a row of missing values. A single run
        has no columns unless `every`.

    Raises:
        RecordBroken: If a config is not complete JSON.
        StoreUnreachable: If a store does not answer.
    """
    import pandas as pd

    wanted = run_addresses(runs)
    flat = _read(wanted)
    have = [one for one in flat if one]
    names = sorted({name for one in flat for name in one})
    if not every:
        names = [n for n in names if len({_string_at(one, n) for one in have}) > 1]
    columns = {
        name: as_inferred_dtype([one.get(name) for one in flat], [name in one for one in flat])
        for name in names
    }
    table = pd.DataFrame(columns, index=range(len(wanted)))
    table.index = pd.Index([run.id for run in wanted], name="run", dtype="object")
    return table


def _read(wanted: Sequence[Run]) -> list[dict[str, Any]]:
    """Read the config of each run; among several, skip unreadable ones with a warning."""
    flat, failures = [], []
    for run in wanted:
        try:
            flat.append(flat_config(run))
        except (RasterError, RecordBroken) as exc:
            failures.append((run, exc))
            flat.append({})
    if failures and len(failures) == len(wanted):
        raise failures[0][1]
    for run, failure in failures:
        warn_user(f"The config of {run.id} is left out: {failure}")
    return flat


def flat_config(run: Run) -> dict[str, Any]:
    """Return the flattened config of one run; empty if it has none yet."""
    try:
        raw = rv_outputs.read_rv_config(store_of(run), run)
    except KeyMissing:
        return {}
    return dict(flatten(_replace_folders(raw, folder_placeholders(run))))


def folder_placeholders(run: Run) -> dict[str, str]:
    """Return the placeholders of a run's own folders, the longest folder first."""
    found = {run.uri: "{run}"}
    try:
        spec = read_spec(store_of(run), run)
    except RvlabError:
        return found
    data = spec.params.get("data_uri")  # of a recipe that was not written for rvlab
    given = (
        {"data_uri": data} if isinstance(data, str) and ("://" in data or data[0:1] == "/") else {}
    )
    for name, uri in {**given, **spec.places}.items():
        if uri:
            word = {"root_uri": "{run}/rv", "data_uri": "{data}"}.get(name, f"{{{name}}}")
            found.setdefault(uri.rstrip("/"), word)
    return dict(sorted(found.items(), key=lambda item: -len(item[0])))


def flatten(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted paths and plain values; lists of plain values are not flattened."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from flatten(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list) and any(isinstance(one, Mapping) for one in value):
        for name, inner in zip(_item_keys(value), value, strict=True):
            yield from flatten(inner, f"{path}[{name}]")
    elif isinstance(value, list) and path.startswith(SCENE_GROUP_PREFIXES):
        yield path, sorted(value, key=str)
    else:
        yield path, value


def _item_keys(items: Sequence[Any]) -> list[str]:
    """Return the ids of items if each has a unique one, else their positions."""
    ids = [str(one["id"]) for one in items if isinstance(one, Mapping) and "id" in one]
    if len(set(ids)) == len(items):
        return ids
    return [str(i) for i in range(len(items))]


def _replace_folders(value: Any, own: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        for folder, word in own.items():
            if value == folder or f"{folder}/" in f"{value}/":
                value = f"{value}/".replace(f"{folder}/", f"{word}/")[:-1]
        return value
    if isinstance(value, Mapping):
        return {name: _replace_folders(inner, own) for name, inner in value.items()}
    if isinstance(value, list):
        return [_replace_folders(inner, own) for inner in value]
    return value


def _string_at(config: Mapping[str, Any], name: str) -> str:
    return json.dumps(config[name], sort_keys=True) if name in config else ""
