"""Raster Vision's own configuration of runs, as a table."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rvlab.cache.dtypes import infer_dtype
from rvlab.compare.resolve import RunsLike, run_addresses, store_of
from rvlab.errors import KeyMissing, RasterError, RecordBroken, RvlabError
from rvlab.model import Run, Spec
from rvlab.store import outputs

if TYPE_CHECKING:
    import pandas as pd

SCENE_GROUP_PREFIXES = ("dataset.scene_groups.",)
"""Keys below which Raster Vision has sets, which it writes in any order."""


def configs(runs: RunsLike, *, every: bool = False) -> pd.DataFrame:
    """Raster Vision's ``pipeline-config.json``, flattened: one column per key that differs.

    Where a run lies is no difference: its own URI reads ``{run}``, the folder of its scenes
    ``{data}``. Scenes are called by their ids, ``dataset.train_scenes[town-0].aoi_uris``, so their
    order is none either; sets are sorted; other lists are JSON text.

    Args:
        runs: A table with the column ``uri``, a run or several.
        every: All keys, also those that are the same in all runs.

    Returns:
        Index ``run``. A run that has not been configured has a row in which all is missing; one
        alone has no columns unless `every`.

    Raises:
        RecordBroken: If a config is not whole JSON.
        StoreUnreachable: If nobody answers at a store's address.
    """
    import pandas as pd

    wanted = run_addresses(runs)
    flat = _read(wanted)
    have = [one for one in flat if one]
    names = sorted({name for one in flat for name in one})
    if not every:
        names = [n for n in names if len({_string_at(one, n) for one in have}) > 1]
    columns = {
        name: infer_dtype([one.get(name) for one in flat], [name in one for one in flat])
        for name in names
    }
    table = pd.DataFrame(columns, index=range(len(wanted)))
    table.index = pd.Index([run.id for run in wanted], name="run", dtype="object")
    return table


def _read(wanted: Sequence[Run]) -> list[dict[str, Any]]:
    """The config of each run; of several, one that cannot be read is left out with a warning."""
    flat, troubles = [], []
    for run in wanted:
        try:
            flat.append(flat_config(run))
        except (RasterError, RecordBroken) as exc:
            troubles.append((run, exc))
            flat.append({})
    if troubles and len(troubles) == len(wanted):
        raise troubles[0][1]
    for run, trouble in troubles:
        warnings.warn(f"The config of {run.id} is left out: {trouble}", stacklevel=4)
    return flat


def flat_config(run: Run) -> dict[str, Any]:
    """The flattened config of one run; empty if it has none yet."""
    try:
        raw = outputs.read_config(store_of(run), run)
    except KeyMissing:
        return {}
    return dict(flatten(_replace_folders(raw, folder_placeholders(run))))


def folder_placeholders(run: Run) -> dict[str, str]:
    """What stands for the folders that are a run's own, the longest first."""
    key = run.key("spec.json")
    found = {run.uri: "{run}"}
    try:
        given = Spec.from_record(store_of(run).get_json(key), key).places
    except RvlabError:
        given = {}
    for name, word in (("root_uri", "{run}/rv"), ("data_uri", "{data}")):
        if given.get(name):
            found.setdefault(str(given[name]).rstrip("/"), word)
    return dict(sorted(found.items(), key=lambda item: -len(item[0])))


def flatten(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted paths and plain values; lists of plain values stay lists."""
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
    """Ids where each has one of its own, else numbers."""
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
