"""A version of a promoted model in a notebook, and how a name, a row or a version selects one."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from rvlab.errors import NEAR_CUTOFF, NotFound, RvlabError, SpecError
from rvlab.frame.run_names import RunNames
from rvlab.frame.run_selector import RunSelector, require_in_store, require_one
from rvlab.model import Run
from rvlab.model.promotion import (
    CARD_FILE,
    ITEM_FILE,
    SOURCE_COPY,
    VERSION_SEPARATOR,
    VersionRecord,
    is_model_name,
)
from rvlab.report.model_card import model_card
from rvlab.report.run_summary import store_argument
from rvlab.store import Store
from rvlab.store.model_versions import (
    list_model,
    list_models,
    read_state,
    read_version,
    require_model,
)

if TYPE_CHECKING:
    import pandas as pd

CURRENT = "current"
"""The current version of a model, in ``vegas-buildings:current``."""


@dataclass(frozen=True, repr=False)
class ModelVersion:
    """A version of a promoted model; a notebook shows its model card.

    Args:
        store: The store of the model.
        record: The record of the version.
    """

    store: Store
    record: VersionRecord

    def __repr__(self) -> str:
        return f"ModelVersion({str(self)!r})"

    def __str__(self) -> str:
        return f"{self.model}{VERSION_SEPARATOR}{self.version}"

    def _repr_markdown_(self) -> str:
        return self.card

    @property
    def model(self) -> str:
        """The name of the model."""
        return self.record.model

    @property
    def version(self) -> int:
        """The number of the version."""
        return self.record.version

    @property
    def run(self) -> Run:
        """The run that was promoted; it may have been deleted since."""
        return Run(self.store.uri, self.record.experiment, self.record.run)

    @property
    def uri(self) -> str:
        """The address of the folder of the version."""
        return f"{self.store.uri}/{self.record.key()}".rstrip("/")

    @property
    def bundle_uri(self) -> str:
        """The address of its bundle, for `rvlab.Lab.open`."""
        return f"{self.store.uri}/{self.record.bundle_key}"

    @property
    def card(self) -> str:
        """Its model card in Markdown."""
        return model_card(self.record, store_argument(self.run))

    @property
    def item(self) -> dict[str, Any]:
        """Its STAC item with the extension MLM (Machine Learning Model), as a dict."""
        from rvlab.exchange.stac_item import stac_item

        return stac_item(self.record)

    @property
    def metrics(self) -> pd.DataFrame:
        """Its metrics: index ``metric``; ``value low high``, the interval over scenes."""
        import pandas as pd

        record = self.record
        columns = {"value": record.metrics, "low": record.low, "high": record.high}
        index = pd.Index(list(record.metrics), name="metric")
        return pd.DataFrame(columns, index=index, dtype="float64")

    def write_files(self) -> None:
        """Write the files that are derived from the record: STAC item, model card, recipe.

        Raises:
            StoreError: If the store does not answer or refuses. The version exists all the same.
        """
        card = model_card(self.record, store_argument(self.run), front_matter=True)
        files = {
            ITEM_FILE: json.dumps(self.item, indent=1, ensure_ascii=False, allow_nan=False),
            CARD_FILE: card,
            SOURCE_COPY: self.record.source,
        }
        for name, text in files.items():
            if text is not None:
                self.store.put(self.record.key(name), text.encode())


ModelSelector: TypeAlias = RunSelector | ModelVersion
"""A run, or a model: its name, ``name:version``, a `ModelVersion`, or a row of `models_table`."""


def select_version(store: Store, selector: ModelSelector) -> VersionRecord | None:
    """Return the version of a model that is selected; None if it can only be a run.

    Raises:
        NotFound: If the model or the version does not exist.
        SpecError: If the model has no current version, a run or an experiment has its name, or the
            version is in another store.
    """
    if isinstance(selector, ModelVersion):
        require_in_store(store, [selector.run])
        return read_version(store, selector.model, selector.version)
    if isinstance(selector, str):
        return _select_by_name(store, selector)
    if hasattr(selector, "to_dict"):  # a table or a row of it, without importing pandas
        table: Any = selector
        if hasattr(table, "columns"):
            if not {"model", "version"} <= {*table.columns} or len(table) != 1:
                return None
            table = table.iloc[0]
        if "model" in table.index and "version" in table.index:
            if "uri" in table.index:
                require_in_store(store, [Run.from_uri(str(table["uri"]))])
            return read_version(store, str(table["model"]), int(table["version"]))
    return None


def _select_by_name(store: Store, name: str) -> VersionRecord | None:
    model, separator, number = name.partition(VERSION_SEPARATOR)
    if not is_model_name(model) or (separator and number.startswith("/")):
        return None
    if not separator:
        if not list_model(store, model).versions:
            return None
        _require_unambiguous(store, model)
    listing = require_model(store, model)
    if separator and number != CURRENT:
        if not number.isascii() or not number.isdecimal():
            raise SpecError(
                f"{name!r} is not a version of a model. Use {model}:{listing.versions[-1]} or "
                f"{model}:{CURRENT}."
            )
        return read_version(store, model, int(number))
    current = read_state(store, listing).current
    if current is None:
        listed = ", ".join(map(str, listing.versions[-8:]))
        raise SpecError(
            f"The model {model!r} has no current version. Name one as {model}:"
            f"{listing.versions[-1]}, or make one current with lab.rollback({model!r}, to=…). "
            f"There are {listed}."
        )
    return read_version(store, model, current)


def _require_unambiguous(store: Store, model: str) -> None:
    """Require that a name of a model selects no runs."""
    try:
        found = RunNames(store).find_runs(model)
    except NotFound:
        return
    except SpecError:  # several runs
        found = []
    what = f"the run {found[0].prefix}" if len(found) == 1 else "several runs"
    raise SpecError(
        f"{model!r} is the name of a model and selects {what}, too. Write {model}:{CURRENT} for "
        "the model, or experiment/id for a run."
    )


def require_run_or_version(store: Store, selector: ModelSelector, verb: str) -> Run | VersionRecord:
    """Resolve a selection to exactly one run or version of a model.

    Raises:
        NotFound: If the run, model or version does not exist.
        SpecError: If it selects no run or several, or is ambiguous.
    """
    found = select_version(store, selector)
    if found is not None:
        return found
    try:
        return require_one(store, cast("RunSelector", selector), verb)
    except NotFound as exc:
        near = _similar_models(store, selector)
        if not near:
            raise
        raise NotFound(
            f"No model, experiment or run {selector!r} in {store.uri}. Did you mean "
            f"{' or '.join(map(repr, near))}?"
        ) from exc


def _similar_models(store: Store, selector: object) -> list[str]:
    if not isinstance(selector, str):
        return []
    try:
        known = [one.model for one in list_models(store)]
    except RvlabError:
        return []
    return difflib.get_close_matches(selector, known, n=3, cutoff=NEAR_CUTOFF)
