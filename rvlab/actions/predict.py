"""Predict new imagery with the model of a run: check everything, then submit a run."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rvlab.actions.bundle_code import read_bundle_config, require_trusted_code
from rvlab.actions.control import start_runs
from rvlab.actions.files import download_file
from rvlab.actions.load_model import ModelBundle, find_model_bundle
from rvlab.actions.model_version import ModelSelector
from rvlab.actions.prediction_scenes import PredictionScene, find_scenes, require_remote
from rvlab.engines import Engine
from rvlab.errors import RvlabError, SpecError
from rvlab.model import Run
from rvlab.raster.config import classes_from_config
from rvlab.raster.imagery import imagery_rules
from rvlab.raster.imagery_checks import require_labels, require_same_imagery
from rvlab.recipes import own_recipe
from rvlab.store import Store
from rvlab.store.rv_outputs import read_rv_config
from rvlab.submission import DATA_FOLDER, SubmitOptions
from rvlab.user_warning import warn_user
from rvlab.worker.masking import has_secret
from rvlab.worker.score_scenes import is_folder_name

if TYPE_CHECKING:
    import pandas as pd

RECIPE = "prediction"
SAVED_KINDS = {
    "labels_copy": "_labels.tif",
    "scores_copy": "_scores.tif",
    "geopackage": ".gpkg",
}
"""The kinds of files that ``rvlab predict -o`` saves, and the endings of their names."""

MAX_OVERLAP = 0.9
EXPERIMENT_CHARS = 100


@dataclass(frozen=True)
class PredictOptions:
    """The options of a prediction, besides its images.

    Args:
        labels: Labels of the images, as for `find_scenes`.
        overlap: Fraction of a window that overlaps the next; None uses the run's options.
        scores: Whether the scores of each class are stored.
        bands: The channels of the images, in the order of the model's.
        experiment: The experiment of the new run; None is that of the model's run with
            ``-predictions``.
        splits: Number of parallel pieces.
        priority: As for `SubmitOptions`.
        trust_code: Whether the bundle may contain Python code.
    """

    labels: Any = None
    overlap: float | None = 0.25
    scores: bool = True
    bands: Sequence[int] | Sequence[str] | None = None
    experiment: str | None = None
    splits: int = 1
    priority: int = 0
    trust_code: bool = False

    def __post_init__(self) -> None:
        value: Any = self.overlap
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        if value is not None and not (is_number and 0 <= value <= MAX_OVERLAP):
            raise SpecError(
                f"overlap must be a fraction from 0 to {MAX_OVERLAP}, or None for the predict "
                f"options of the run, got {value!r}."
            )


def start_prediction(
    store: Store,
    engine: Engine,
    model: ModelSelector,
    images: Any,
    options: PredictOptions,
) -> Run:
    """Check the bundle and the images, and start a run that predicts them; see `Lab.predict`."""
    source = find_model_bundle(store, model, "predict")
    parent = source.run
    with tempfile.TemporaryDirectory(prefix="rvlab-predict-") as folder:
        path = Path(folder, "bundle.zip")
        digest = source.download(store, path)
        require_trusted_code(path, Path(folder), parent.id, trust_code=options.trust_code)
        config = read_bundle_config(path, parent.id)
    classes_from_config(config)  # a damaged config fails here
    with contextlib.suppress(RvlabError):  # of an adopted run, with the present addresses
        config = read_rv_config(store, parent)
    rules = imagery_rules(config, store, parent.id, options.bands)
    scenes = find_scenes(images, options.labels, rules)
    if engine.sees_all_runs:
        require_remote([source.uri, *(uri for scene in scenes for uri in scene.uris)], engine.name)
    profiles = require_same_imagery(rules, [scene.image for scene in scenes])
    require_labels(rules, {scene.labels: scene.image for scene in scenes if scene.labels}, profiles)
    request = {
        "schema": 1,
        "bundle_uri": source.uri,
        "bundle_sha256": digest,
        "scenes": [scene.record() for scene in scenes],
    }
    point = {
        "model": source.model,
        "request_uri": _write_request(store, request),
        "overlap": None if options.overlap is None else float(options.overlap),
        "scores": options.scores,
    }
    return start_runs(
        store,
        engine,
        own_recipe(RECIPE),
        [point],
        _submission(source, scenes, options, engine),
    )[0]


def _write_request(store: Store, request: Mapping[str, Any]) -> str:
    """Write what is predicted to a file named after its content, and return its URI.

    As a parameter of the recipe it would be a column of the table of runs, and its length would be
    limited on Kubeflow.
    """
    text = json.dumps(request, sort_keys=True)
    if has_secret(text, store):
        warn_user(
            "The address of an image or of labels holds a secret, which everyone with read access "
            "to the store can see. Let the worker read it from its environment instead."
        )
    key = f"{DATA_FOLDER}/{RECIPE}/{hashlib.sha256(text.encode()).hexdigest()}.json"
    store.put(key, text.encode())
    return f"{store.uri}/{key}"


def save_prediction(store: Store, artifacts: pd.DataFrame, folder: str | Path) -> list[Path]:
    """Copy the files of a prediction to a folder: ``{scene}_labels.tif`` and so on.

    Args:
        store: The store of the run.
        artifacts: Its files.
        folder: Where to; files of the same names are replaced.

    Returns:
        The files, by scene.

    Raises:
        SpecError: If a file cannot be written.
    """
    rows = artifacts[artifacts["kind"].isin(list(SAVED_KINDS))].sort_values(["scene", "kind"])
    saved = []
    for scene, kind, uri, size in rows[["scene", "kind", "uri", "bytes"]].itertuples(index=False):
        if not is_folder_name(scene):
            raise SpecError(f"{uri} is of the scene {scene!r:.200}, which cannot name a file.")
        path = Path(folder).expanduser() / f"{scene}{SAVED_KINDS[kind]}"
        # A file of the same size may be of another prediction.
        download_file(store, uri, size, path, overwrite=True)
        saved.append(path)
    return saved


def _submission(
    source: ModelBundle,
    scenes: Sequence[PredictionScene],
    options: PredictOptions,
    engine: Engine,
) -> SubmitOptions:
    ending = "-predictions"
    own = source.run.experiment.removesuffix(ending)[: EXPERIMENT_CHARS - len(ending)] + ending
    more = f" and {len(scenes) - 1} more" if len(scenes) > 1 else ""
    return SubmitOptions(
        own if options.experiment is None else options.experiment,
        engine.name,
        options.splits,
        parent=source.run.id,
        name=f"{scenes[0].id}{more} by {source.name}",
        priority=options.priority,
    )
