"""The differences between two runs."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rvlab import frame
from rvlab.compare._configs import flat_config
from rvlab.errors import KeyMissing
from rvlab.frame.input_tables import RunsLike, single_run, store_of
from rvlab.frame.params import value_key
from rvlab.model import Run, Spec
from rvlab.model.schema import columns_of
from rvlab.store import read_spec

if TYPE_CHECKING:
    import pandas as pd

_KIND_BY_FIELD = {one.name: one.diff for one in columns_of(Spec) if one.diff}

DIFF_KINDS = tuple(
    dict.fromkeys(["recipe", "source", "parameter", *_KIND_BY_FIELD.values(), "data", "config"])
)
"""Kinds of differences, in the order of the table; those of a spec are declared at its fields."""

_ABSENT = object()

DiffRow = tuple[str, str, Any, Any, str | None]


def diff(run_a: RunsLike, run_b: RunsLike) -> pd.DataFrame:
    """List everything in which two runs differ.

    Args:
        run_a: A run: a row of the table of runs, a `Run` or its URI.
        run_b: The other run.

    Returns:
        ``kind key a b text``, in the order of `DIFF_KINDS`:

        * ``recipe``, ``seed``, ``splits``, ``image``: columns of the table of runs;
        * ``source``: the recipe's source; `a` and `b` are the beginnings of its SHA-256, `text` is
          the unified diff for ``print``, as `source_diff` returns it;
        * ``parameter``: each parameter, without the prefix ``params.``;
        * ``commit``: the git commit, and whether there were uncommitted changes;
        * ``data``: the folder of the scenes, if it is not the store's own; and for each scored
          scene, such as ``validation[town-0].labels``, the fingerprints of its image, labels and
          areas of interest. They differ where the pixels differ, whatever the names of the files.
          A run that was not evaluated has no fingerprints, which does not count as a difference;
        * ``config``: Raster Vision's flattened config, see `configs`; much of it follows from
          the parameters.

        `a` and `b` are text, missing where a run has no such value; only rows of the source have
        `text`. The table is empty for two runs that should give the same result.

    Raises:
        SpecError: If an argument is not exactly one run.
        KeyMissing: If a run has no ``spec.json``.
        RecordBroken: If its records cannot be read.
    """
    import pandas as pd

    a, b = single_run(run_a, "run_a"), single_run(run_b, "run_b")
    specs = [read_spec(store_of(run), run) for run in (a, b)]
    found = [*_spec_rows(*specs), *_source_rows(a, b, *specs)]
    found += _mapping_rows("data", *_fingerprints(a, b))
    found += _mapping_rows("config", flat_config(a), flat_config(b))
    found.sort(key=lambda row: (DIFF_KINDS.index(row[0]), row[1]))
    names = ("kind", "key", "a", "b", "text")
    columns = list(zip(*found, strict=True)) or [()] * len(names)
    return pd.DataFrame(
        {
            name: pd.Series(list(values), dtype="string")
            for name, values in zip(names, columns, strict=True)
        }
    )


def source_diff(run_a: RunsLike, run_b: RunsLike) -> str:
    """Return the unified diff of two runs' recipe sources; empty if they are equal.

    Args:
        run_a: A run: a row of the table of runs, a `Run` or its URI.
        run_b: The other run.

    Raises:
        SpecError: If an argument is not exactly one run.
    """
    a, b = single_run(run_a, "run_a"), single_run(run_b, "run_b")
    before, after = (_read_source(run).splitlines() for run in (a, b))
    names = [f"{run.id}/recipe.py" for run in (a, b)]
    return "\n".join(difflib.unified_diff(before, after, names[0], names[1], lineterm=""))


def _spec_rows(a: Spec, b: Spec) -> Iterator[DiffRow]:
    for name, kind in _KIND_BY_FIELD.items():
        if kind != "source":
            yield from _mapping_rows(kind, {name: getattr(a, name)}, {name: getattr(b, name)})
    yield from _mapping_rows("parameter", a.params, b.params)
    data = [{k: v for k, v in spec.places.items() if k != "root_uri"} for spec in (a, b)]
    yield from _mapping_rows("data", *data)


def _fingerprints(a: Run, b: Run) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fingerprints of the scored scenes of both runs, empty if one run has none."""
    tables = [frame.scene_fingerprints_table(store_of(run), [run]) for run in (a, b)]
    if any(table.empty for table in tables):
        return {}, {}
    left, right = (
        {
            f"{row['group']}[{row['scene']}].{name}": row[name]
            for row in table.to_dict("records")
            for name in ("image", "labels", "aois", "grid")
            if value_key(row[name])[0] != "missing"
        }
        for table in tables
    )
    return left, right


def _source_rows(a: Run, b: Run, spec_a: Spec, spec_b: Spec) -> Iterator[DiffRow]:
    if spec_a.source_sha256 != spec_b.source_sha256:
        start_a, start_b = spec_a.source_sha256[:12], spec_b.source_sha256[:12]
        yield "source", "recipe.py", start_a, start_b, source_diff(a, b)


def _mapping_rows(kind: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[DiffRow]:
    for key in dict.fromkeys([*a, *b]):
        left, right = a.get(key, _ABSENT), b.get(key, _ABSENT)
        if left is _ABSENT or right is _ABSENT or value_key(left) != value_key(right):
            yield kind, key, _display_text(left), _display_text(right), None


def _display_text(value: Any) -> str | None:
    if value is _ABSENT or value is None:
        return None
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _read_source(run: Run) -> str:
    try:
        return store_of(run).get(run.key("recipe.py")).decode(errors="replace")
    except KeyMissing:
        return ""
