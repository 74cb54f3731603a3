"""The arguments of `rvlab.Lab.adopt`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from rvlab.errors import SpecError
from rvlab.exchange.adopt import adopt, adopt_with_predictions
from rvlab.exchange.adopt_predictions import PredictionArguments
from rvlab.exchange.adopted_run import ParamsLike
from rvlab.frame.run_selector import RunSelector, resolve_runs
from rvlab.model import Run
from rvlab.store import Store


def adopt_runs(
    store: Store,
    uri: str | Path | None,
    given: Mapping[str, Any],
    *,
    experiment: str,
    params: ParamsLike,
    group: str,
) -> list[Run]:
    """Adopt runs; see `rvlab.Lab.adopt`.

    Args:
        store: The store.
        uri: The folder of the runs.
        given: The arguments about predictions, by name; None for those that were left out.
        experiment: The experiment of the runs.
        params: Parameters that the caller adds.
        group: The scene group of the predictions.
    """
    named = {name: value for name, value in given.items() if value is not None}
    if "predictions" not in named and "scores" not in named:
        if named:
            raise SpecError(f"{next(iter(named))} is about predictions; give predictions as well.")
        if uri is None:
            raise SpecError("adopt needs a folder, or predictions and truth.")
        return adopt(store, uri, experiment=experiment, params=params)
    truth = named.get("truth")
    if isinstance(truth, Run) or hasattr(truth, "to_dict"):  # a table of runs or one of its rows
        runs = resolve_runs(store, cast("RunSelector", truth))  # also of another store
        if len(runs) != 1:
            raise SpecError(f"truth needs exactly one run, got {len(runs)}.")
        named["truth"] = runs[0]
    arguments = PredictionArguments(**named, group=group)
    return [adopt_with_predictions(store, uri, arguments, experiment=experiment, params=params)]
