"""Promote a run: make its model the next version of a named model."""

from __future__ import annotations

import contextlib
import math
import secrets
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rvlab import compare
from rvlab.actions.bundle_code import INNER_BUNDLE, unpack_bundle
from rvlab.actions.describe_bundle import describe_bundle
from rvlab.actions.load_model import download_bundle, find_bundle
from rvlab.actions.model_version import ModelVersion
from rvlab.compare.metric_intervals import metric_intervals
from rvlab.errors import (
    GateNotPassed,
    KeyMissing,
    NotFound,
    RecordBroken,
    RvlabError,
    SpecError,
    TableError,
)
from rvlab.frame.run_names import list_experiments
from rvlab.frame.run_selector import RunSelector, require_existing, require_one
from rvlab.frame.runs import runs_table
from rvlab.frame.tables import artifacts_table
from rvlab.model import Run, utc_now
from rvlab.model.limits import RECIPE_BYTES
from rvlab.model.promotion import (
    FIRST_VERSION,
    NOT_COMPARED,
    VersionRecord,
    validate_model_name,
)
from rvlab.raster.boxes import DETECTION
from rvlab.raster.scene import task_of_config
from rvlab.store import Store, read_spec
from rvlab.store.model_versions import (
    ModelState,
    create_version,
    list_model,
    list_models,
    read_state,
    read_version,
    read_versions,
    require_model,
    write_version_choice,
)
from rvlab.store.rv_outputs import read_rv_config
from rvlab.submission import current_user
from rvlab.user_warning import warn_user
from rvlab.version import __version__
from rvlab.worker.records import SOURCE_FILE

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.95
"""The level of the intervals of a version's metrics."""

MAX_LINE_CHARS = 1000
"""Longest reason or license."""


@dataclass(frozen=True)
class GateOptions:
    """How a run is compared with the current version; see `rvlab.compare.gate`.

    Args:
        baseline: The runs to compare with; None is the run of the current version.
        metric: The metric; None is ``f1``, or ``object_f1`` for an object detection.
        margin: The largest acceptable loss.
        group: The group of scenes.
        level: The level of the interval.
    """

    baseline: RunSelector = None
    metric: str | None = None
    margin: float = 0.0
    group: str | None = None
    level: float = 0.95


@dataclass(frozen=True)
class _Comparison:
    """The result of the gate for a run, and the baseline."""

    result: str
    sentence: str
    baseline: str | None = None
    baseline_version: int | None = None


def promote_run(
    store: Store,
    run: RunSelector,
    model: str,
    options: GateOptions,
    *,
    override: str | None,
    note: str,
    license_name: str | None,
) -> ModelVersion:
    """Make the model of a run the next version of a named model; see `rvlab.Lab.promote`."""
    validate_model_name(model)
    _require_text("override", override)
    _require_text("note", note or None, lines=True)
    _require_text("license", license_name)
    if model in list_experiments(store) and not list_model(store, model).versions:
        raise SpecError(
            f"{model!r} cannot be the name of a model: it is the name of an experiment, which "
            "selects runs. Choose another one."
        )
    selected = require_one(store, run, "promote")
    row = runs_table(store, [selected]).iloc[0]
    if row["state"] != "succeeded":
        where = f" in {row['step']}" if isinstance(row["step"], str) else ""
        raise SpecError(
            f"The run {selected.id} is {row['state']}{where}: only a run that has succeeded can be "
            "promoted."
        )
    uri = find_bundle(row, artifacts_table(store, [selected]))
    state = read_state(store, list_model(store, model))
    if (same := _current_version_of(store, state, selected)) is not None:
        warn_user(
            f"The run {selected.id} is already version {same.version} of the model {model!r}, the "
            "current one. Nothing was written."
        )
        return ModelVersion(store, same)
    options = replace(options, metric=options.metric or _default_metric(store, selected))
    compared = _compare(store, state, row, options)
    if compared.result not in ("passes", FIRST_VERSION) and override is None:
        margin = "margin= for a loss that does not matter, or "
        margin = "" if compared.result == NOT_COMPARED else margin
        raise GateNotPassed(
            f"The run {selected.id} was not promoted to {model!r}. {compared.sentence} "
            f"Pass {margin}"
            "override='reason', which is recorded.",
            compared.result,
        )
    was_compared = compared.result not in (FIRST_VERSION, NOT_COMPARED)
    with tempfile.TemporaryDirectory(prefix="rvlab-promote-") as name:
        folder = Path(name)
        bundle = folder / "bundle.zip"
        digest = download_bundle(store, uri, bundle)
        code = unpack_bundle(bundle, folder, selected.id)
        about = describe_bundle(bundle, folder / "inner" / INNER_BUNDLE, selected.id, store)
        record = VersionRecord(
            model=model,
            version=(state.listing.versions or (0,))[-1] + 1,
            promoted=utc_now(),
            promoted_by=current_user(),
            writer=secrets.token_hex(8),
            bundle_sha256=digest,
            bundle_bytes=bundle.stat().st_size,
            bundle_code=code,
            gate=compared.result,
            gate_sentence=compared.sentence,
            baseline=compared.baseline,
            baseline_version=compared.baseline_version,
            gate_metric=options.metric if was_compared else None,
            gate_margin=float(options.margin) if was_compared else None,
            override=None if compared.result in ("passes", FIRST_VERSION) else override,
            note=note or "",
            license=license_name,
            **about,
            **_metrics_with_intervals(selected, row),
            **_provenance(store, selected, row),
        )
        _upload(store, record, bundle)
    create_version(store, record)
    write_version_choice(
        store, model, record.version, record.promoted_by, record.override or "promoted"
    )
    version = ModelVersion(store, record)
    version.write_files()
    return version


def roll_back(store: Store, model: str, to: int | None, why: str) -> None:
    """Make another version of a model the current one; see `rvlab.Lab.rollback`."""
    _require_text("why", why or None, lines=True)
    listing = require_model(store, model)
    if to is not None:
        if isinstance(to, bool) or not isinstance(to, int):
            raise SpecError(f"to must be the number of a version, or None, got {to!r}.")
        read_version(store, model, to)
    with contextlib.suppress(RecordBroken):  # the new choice replaces an invalid one
        if to == read_state(store, listing).current:
            what = f"version {to} as its current version" if to else "no current version"
            raise SpecError(f"The model {model!r} already has {what}.")
    write_version_choice(store, model, to, current_user(), why or "")


def require_not_current_version(store: Store, runs: list[Run]) -> None:
    """Require that no current version of a model was made from one of the runs.

    The records of that run are the default baseline of the next version. Other versions need no
    run.

    Raises:
        SpecError: If a current version was made from one of them.
    """
    wanted = {(run.experiment, run.id) for run in runs}
    for listing in list_models(store):
        try:
            current = read_state(store, listing).current
            if current is None:
                continue
            record = read_version(store, listing.model, current)
        except RecordBroken:  # it names no run
            continue
        if (record.experiment, record.run) in wanted:
            raise SpecError(
                f"The run {record.run} is version {current} of the model {record.model!r}, its "
                "current one, with which the next one is compared. Make another version current "
                f"first: lab.rollback({record.model!r}, to=…). Nothing has been deleted."
            )


def _default_metric(store: Store, run: Run) -> str:
    """Return the metric of the gate for the task of a run."""
    task = ""
    with contextlib.suppress(RvlabError):  # its bundle has a config, too
        task = task_of_config(read_rv_config(store, run))
    return "object_f1" if task == DETECTION else "f1"


def _require_text(name: str, text: str | None, *, lines: bool = False) -> None:
    """Require that an argument is text with a content, if it is given."""
    if text is None:
        return
    is_text = isinstance(text, str) and text.strip()
    if not is_text or any("\ud800" <= char <= "\udfff" for char in text):
        raise SpecError(f"{name} must be text, got {text!r:.60}.")
    if not lines and (len(text) > MAX_LINE_CHARS or len(text.splitlines()) > 1):
        raise SpecError(f"{name} must be one line of at most {MAX_LINE_CHARS} characters.")


def _current_version_of(store: Store, state: ModelState, run: Run) -> VersionRecord | None:
    """Return the record of the current version if it was made from the run, else None.

    Raises:
        SpecError: If another version was made from it.
    """
    for (model, version), record in read_versions(store, [state.listing]).items():
        if isinstance(record, RvlabError):
            continue  # a damaged record; lab.models() shows it
        if (record.experiment, record.run) != (run.experiment, run.id):
            continue
        if version == state.current:
            return record
        raise SpecError(
            f"The run {run.id} is already version {version} of the model {model!r}, which is not "
            f"the current one. Make it current with lab.rollback({model!r}, to={version})."
        )
    return None


def _compare(
    store: Store, state: ModelState, row: pd.Series[Any], options: GateOptions
) -> _Comparison:
    """Compare a run with the baseline by the gate."""
    version, run = None, Run.from_uri(row["uri"])
    if options.baseline is not None:
        against = require_existing(store, options.baseline)
    elif not state.listing.versions:
        return _Comparison(FIRST_VERSION, "It is the first version, so nothing is compared.")
    elif state.current is None:
        return _Comparison(
            NOT_COMPARED,
            "No version is the current one, so there is none to compare with: pass baseline= with "
            "a run.",
        )
    else:
        version = state.current
        record = read_version(store, state.listing.model, version)
        try:
            against = require_existing(store, Run(store.uri, record.experiment, record.run))
        except NotFound:
            return _Comparison(
                NOT_COMPARED,
                f"The run {record.run} of version {version} was deleted, so there is none to "
                "compare with: pass baseline= with a run.",
                baseline_version=version,
            )
    if run in against:
        raise SpecError(f"The run {run.id} cannot be compared with itself. Pass another baseline=.")
    ids = ", ".join(one.id for one in against)
    which = f"version {version} (run {ids})" if version else f"the baseline {ids}"
    try:
        found = compare.gate(
            row,
            runs_table(store, against),
            str(options.metric),
            options.margin,
            group=options.group,
            level=options.level,
        )
    except (TableError, NotFound) as exc:
        return _Comparison(NOT_COMPARED, f"It cannot be compared with {which}: {exc}", ids, version)
    return _Comparison(found.verdict, _name_baseline(found, which), ids, version)


def _name_baseline(found: compare.Gate, which: str) -> str:
    """Return the sentence of a gate, in which the baseline is named where it first occurs."""
    return found.sentence.replace("the baseline", f"the baseline, {which}", 1)


def _metrics_with_intervals(run: Run, row: pd.Series[Any]) -> dict[str, Any]:
    """Return the fields of `VersionRecord` about metrics, with intervals over scenes if known."""
    values = {
        str(name).removeprefix("metrics."): _number(value)
        for name, value in row.items()
        if str(name).startswith("metrics.") and _number(value) is not None
    }
    found = metric_intervals(run, level=LEVEL)
    ends: tuple[tuple[str, Callable[[Any], float]], ...] = (
        ("low", lambda one: one.interval.low),
        ("high", lambda one: one.interval.high),
    )
    fields: dict[str, Any] = {
        end: {one.name: value for one in found if (value := _number(get(one))) is not None}
        for end, get in ends
    }
    computed = {one.name: _number(one.value) for one in found}
    fields["metrics"] = {**computed, **{n: v for n, v in values.items() if n not in computed}}
    if found:
        fields |= {"group": found[0].group, "scenes": found[0].scenes, "level": LEVEL}
    return fields


def _provenance(store: Store, run: Run, row: pd.Series[Any]) -> dict[str, Any]:
    """Return the fields of `VersionRecord` about the run, its recipe and its code."""
    spec = read_spec(store, run)
    source: str | None = None
    with contextlib.suppress(KeyMissing, RecordBroken):  # adopted, or too large for a record
        source = store.get(run.key(SOURCE_FILE), limit=RECIPE_BYTES).decode(errors="replace")

    def text(name: str) -> str | None:
        return row[name] if isinstance(row[name], str) else None

    return {
        "experiment": run.experiment,
        "run": run.id,
        "run_name": spec.name,
        "eval_set": text("eval_set"),
        "device": text("device"),
        "recipe": spec.recipe,
        "source_sha256": spec.source_sha256,
        "source": source,
        "params": dict(spec.params),
        "seed": spec.seed,
        "commit": spec.commit,
        "dirty": spec.dirty,
        "image": spec.image,
        "parent": spec.parent,
        "created": spec.created,
        "ended": row["ended"].isoformat(timespec="milliseconds"),
        "user": spec.user,
        "rvlab": __version__,
    }


def _number(value: Any) -> float | None:
    """Return a finite number, else None."""
    import pandas as pd

    return None if pd.isna(value) or not math.isfinite(value) else float(value)


def _upload(store: Store, record: VersionRecord, bundle: Path) -> None:
    """Copy a bundle to the folder of the model, unless a version has the same one."""
    with contextlib.suppress(KeyMissing):
        if store.size(record.bundle_key) == record.bundle_bytes:
            return
    store.put_file(record.bundle_key, bundle)
