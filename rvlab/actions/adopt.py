"""Adopt runs, with or without predictions, by the arguments of `rvlab.Lab.adopt`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

from rvlab.errors import SpecError
from rvlab.exchange.adopt import adopt_folders, adopt_with_predictions
from rvlab.exchange.adopt_predictions import PredictionArguments, TruthLike
from rvlab.exchange.adopted_run import ParamsLike
from rvlab.exchange.scene_files import FilesLike
from rvlab.frame.run_selector import RunSelector, resolve_runs
from rvlab.model import Run
from rvlab.store import Store


def adopt_runs(
    store: Store,
    uri: str | Path | None,
    given: PredictionArguments,
    truth: FilesLike | RunSelector,
    *,
    experiment: str,
    params: ParamsLike,
) -> list[Run]:
    """Adopt runs; see `rvlab.Lab.adopt`.

    Args:
        store: The store.
        uri: The folder of the runs.
        given: The arguments about predictions, except their truth.
        truth: The files of the truth, or one run.
        experiment: The experiment of the runs.
        params: Parameters that the caller adds.
    """
    if given.predictions is None and given.scores is None:
        others = {**vars(given), "truth": truth, "group": None}
        name = next((name for name, value in others.items() if value is not None), None)
        if name is not None:
            raise SpecError(f"{name} is about predictions; give predictions as well.")
        if uri is None:
            raise SpecError("adopt needs a folder, or predictions and truth.")
        return adopt_folders(store, uri, experiment=experiment, params=params)
    if isinstance(truth, Run) or hasattr(truth, "to_dict"):  # a table of runs or one of its rows
        runs = resolve_runs(store, cast("RunSelector", truth))  # also of another store
        if len(runs) != 1:
            raise SpecError(f"truth needs exactly one run, got {len(runs)}.")
        truth = runs[0]
    given = replace(given, truth=cast("TruthLike | None", truth))
    return [adopt_with_predictions(store, uri, given, experiment=experiment, params=params)]
