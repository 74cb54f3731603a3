"""Tables of promoted models: their versions, and the choices of the current ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rvlab.errors import RecordBroken, RvlabError
from rvlab.model.overview_tables import MODEL_LOG_TABLE, MODELS_TABLE
from rvlab.model.promotion import CARD_FILE, ITEM_FILE, VersionRecord
from rvlab.model.schema import TIME_S, TableSchema
from rvlab.model.tables import RANK_METRICS
from rvlab.store import Store
from rvlab.store.model_versions import (
    ModelListing,
    list_models,
    read_state,
    read_version_choices,
    read_versions,
    require_model,
)
from rvlab.user_warning import warn_user

if TYPE_CHECKING:
    import pandas as pd


def models_table(store: Store, model: str | None = None) -> pd.DataFrame:
    """Return the versions of promoted models; see `rvlab.Lab.models`.

    Args:
        store: The store.
        model: The name of a model; None returns all models.

    Raises:
        NotFound: If the model does not exist.
        StoreError: If the store does not answer or refuses.

    Warns:
        UserWarning: For a version whose record is invalid; it is left out.
    """
    listings = list_models(store) if model is None else [require_model(store, model)]
    current = {one.model: _read_current(store, one) for one in listings}
    rows: list[dict[str, Any]] = []
    metrics: dict[str, None] = {}
    found = read_versions(store, listings)
    for (name, version), record in sorted(found.items(), key=lambda one: (one[0][0], -one[0][1])):
        if isinstance(record, RvlabError):
            warn_user(f"Version {version} of the model {name!r} is left out: {record}")
            continue
        metrics.update(dict.fromkeys(record.metrics))
        rows.append(_row(store, record, is_current=current[name] == version))
    names = [f"metrics.{metric}" for metric in metrics]
    shown = [name for name in RANK_METRICS if name in names]
    others = sorted((name for name in names if name not in shown), key=lambda name: name.count("."))
    own = list(MODELS_TABLE.names)
    after, before = own.index("current") + 1, own.index("experiment")
    order = [*own[:after], *shown, *own[after:before], *others, *own[before:]]
    return _to_frame(MODELS_TABLE, rows, names)[order]


def model_log_table(store: Store, model: str) -> pd.DataFrame:
    """Return the choices of the current version of a model; see `rvlab.Lab.model_log`."""
    choices = read_version_choices(store, require_model(store, model))
    return _to_frame(MODEL_LOG_TABLE, [one.record() for one in choices])


def _read_current(store: Store, listing: ModelListing) -> int | None:
    """Return the current version of a model; None, with a warning, if its record is invalid."""
    try:
        return read_state(store, listing).current
    except RecordBroken as exc:
        warn_user(f"The current version of the model {listing.model!r} is unknown: {exc}")
        return None


def _row(store: Store, record: VersionRecord, *, is_current: bool) -> dict[str, Any]:
    metrics = {f"metrics.{name}": value for name, value in record.metrics.items()}
    return {
        **{name: getattr(record, name, None) for name in MODELS_TABLE.names},
        **metrics,
        "current": is_current,
        "note": record.note or None,
        "bundle_uri": f"{store.uri}/{record.bundle_key}",
        "card_uri": f"{store.uri}/{record.key(CARD_FILE)}",
        "item_uri": f"{store.uri}/{record.key(ITEM_FILE)}",
        "uri": f"{store.uri}/{record.experiment}/{record.run}",
    }


def _to_frame(
    schema: TableSchema, rows: Sequence[Mapping[str, Any]], more: Iterable[str] = ()
) -> pd.DataFrame:
    """Return rows as a table with the dtypes of a schema, and further columns of numbers."""
    import pandas as pd

    index = pd.RangeIndex(len(rows))
    columns: dict[str, pd.Series[Any]] = {}
    for name, dtype in {**schema.dtypes, **dict.fromkeys(more, "float64")}.items():
        values = pd.Series([row.get(name) for row in rows], index=index, dtype="object")
        if dtype == TIME_S:
            values = pd.to_datetime(values, utc=True, format="ISO8601")
        columns[name] = values.astype(dtype)
    return pd.DataFrame(columns, index=index)
