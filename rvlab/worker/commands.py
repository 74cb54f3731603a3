"""Raster Vision's commands: build a config from a recipe, run one command, check its outputs.

Raster Vision is imported inside the functions, because the import takes ten seconds.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rvlab.errors import StepError
from rvlab.model import PREDICTION, Run, Spec
from rvlab.model.tables import COUNTED_TABLES
from rvlab.recipes.old_names import add_old_names
from rvlab.store import Store
from rvlab.store.rv_outputs import COPIES_FOLDER
from rvlab.worker.checks import check_config
from rvlab.worker.paths import make_absolute, submit_folder
from rvlab.worker.records import PLAN, SOURCE_FILE


@dataclass(frozen=True)
class StepPlan:
    """The steps between configure and summarize, and the number of splits of each.

    Args:
        steps: Raster Vision's commands, in order.
        splits: The number of splits of each step that is split.
    """

    steps: tuple[str, ...]
    splits: dict[str, int]

    def record(self) -> dict[str, Any]:
        """Return the plan as a JSON object."""
        return {"schema": 1, **asdict(self)}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> StepPlan:
        """Read ``plan.json``."""
        return cls(tuple(record["steps"]), dict(record["splits"]))


def save_config(store: Store, run: Run, spec: Spec, scratch: Path) -> StepPlan:
    """Call the recipe and save Raster Vision's ``pipeline-config.json``.

    The recipe is called in the folder from which the run was submitted, if that folder exists on
    this machine. Relative paths in its config are resolved against that folder. The recipe's
    ``__file__`` is the path that it was submitted from, if it exists on this machine, so that the
    recipe finds neighbouring files. Elsewhere, as in a pod, it is the path of a temporary copy.

    Raises:
        StepError: If the recipe does not return exactly one Raster Vision pipeline config, or if
            `rvlab.worker.checks` rejects the config.
    """
    from rastervision.core.rv_pipeline import RVPipelineConfig
    from rastervision.pipeline.config import build_config, save_pipeline_config

    path = scratch / SOURCE_FILE
    path.write_bytes(store.get(run.key(SOURCE_FILE)))
    add_old_names(path.read_text(encoding="utf-8", errors="replace"))
    folder = submit_folder()
    with contextlib.chdir(folder or scratch):
        configs = _call_recipe(path, spec)
    if len(configs) != 1 or not isinstance(configs[0], RVPipelineConfig):
        kinds = ", ".join(type(c).__name__ for c in configs) or "nothing"
        raise StepError(
            f"{spec.recipe} returned {kinds}. A run is one Raster Vision pipeline: get_config must "
            "return one SemanticSegmentationConfig, ChipClassificationConfig or "
            "ObjectDetectionConfig."
        )
    config = configs[0]
    if folder:
        make_absolute(config, folder)  # before update, which may open a scene to count its bands
    config.root_uri = run.rv_uri
    config.update()
    config.recursive_validate_config()
    build_config(config.dict())
    pipeline = config.build(str(scratch))
    steps = tuple(pipeline.commands) if spec.kind != PREDICTION else _prediction_steps(config)
    check_config(store, run, config, steps)
    save_pipeline_config(config, config.get_config_uri())
    split_steps = [step for step in pipeline.split_commands if step in steps]
    splits = {step: _count_pieces(config.dataset, step, spec.splits) for step in split_steps}
    plan = StepPlan(steps, splits)
    store.put_json(run.key(PLAN), plan.record())
    return plan


def _prediction_steps(config: Any) -> tuple[str, ...]:
    """Return the steps of a run that does not train: predict, and eval if a scene has labels."""
    labelled = any(scene.label_source is not None for scene in config.dataset.all_scenes)
    return ("predict", "eval") if labelled else ("predict",)


def _call_recipe(path: Path, spec: Spec) -> list[Any]:
    """Run the recorded source at `path` as Raster Vision does, and return its configs."""
    # Raster Vision gives a recipe's module this name, under which plugins are looked up.
    module_spec = importlib.util.spec_from_file_location("rastervision.pipeline", path)
    if module_spec is None or module_spec.loader is None:
        raise StepError(f"{spec.recipe} cannot be loaded from {path}.")
    module = importlib.util.module_from_spec(module_spec)
    if spec.file and Path(spec.file).is_file():
        module.__file__ = spec.file
    module_spec.loader.exec_module(module)
    get_config = getattr(module, "get_configs", None) or module.get_config
    configs = get_config("inprocess", **spec.params, **spec.places)
    return configs if isinstance(configs, list) else [configs]


def _count_pieces(dataset: Any, step: str, splits: int) -> int:
    """Return the number of splits of a step that have scenes, at most `splits`.

    Raster Vision gives each split ``ceil(scenes / splits)`` scenes, so the last ones may be empty.
    """
    groups = [dataset.validation_scenes, dataset.test_scenes]
    if step == "chip":
        groups = [dataset.train_scenes, dataset.validation_scenes]
    scenes = max((len(scenes) for scenes in groups), default=0)
    return max(1, math.ceil(scenes / math.ceil(scenes / splits))) if scenes else 1


def run_command(
    store: Store, run: Run, step: str, scratch: Path, *, split: int | None, of: int | None
) -> None:
    """Delete older outputs, run one of Raster Vision's commands, and check its outputs.

    Raises:
        StepError: If an expected output is missing afterwards.
    """
    from rastervision.pipeline.cli import _run_command
    from rastervision.pipeline.config import build_config
    from rastervision.pipeline.file_system import file_exists

    config_uri = f"{run.rv_uri}/pipeline-config.json"
    config = build_config(json.loads(store.get(run.key("rv", "pipeline-config.json"))))
    index, pieces = split or 0, of or 1
    stale = stale_outputs(config, step, index, pieces)
    if step in ("train", "predict"):
        stale += _derived_uris(run)
    delete_outputs(store, run, stale)
    _run_command(config_uri, step, index, pieces)
    expected = expected_outputs(config, step, index, pieces)
    missing = [uri for uri in expected if not file_exists(uri, None, False)]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise StepError(
            f"{step} ended without an error but did not write {', '.join(missing[:3])}{more}. "
            "See its log."
        )


def stale_outputs(config: Any, step: str, split: int, of: int) -> list[str]:
    """List the URIs of older outputs that a step, or one split of it, must delete before it runs.

    A train step that finds an older ``log.csv`` resumes from it or skips training, and predict
    merges its scores with the older ones. A split of chip overwrites its own zip of chips, so its
    outputs are not listed.
    """
    if step == "predict":
        return [s.label_store.uri for s in _predicted_scenes(config, split, of)]
    if step == "chip":
        return []
    folders = {name: getattr(config, f"{name}_uri") for name in ("analyze", "train", "bundle")}
    folders["eval"] = config.eval_uri
    return [folders[step]]


def expected_outputs(config: Any, step: str, split: int, of: int) -> list[str]:
    """List the URIs of the files that a step, or one split of it, must have written."""
    if step == "train":
        backend = config.backend.get_learner_config(config)
        return [backend.get_model_bundle_uri(), f"{config.train_uri}/log.csv"]
    if step == "predict":
        return [_prediction_uri(s) for s in _predicted_scenes(config, split, of)]
    if step == "eval":
        # Raster Vision skips a group with a scene that is not predicted, with a warning only.
        predicted = {s.id for s in _predicted_scenes(config, 0, 1)}
        labelled = {s.id for s in config.dataset.all_scenes if s.label_source is not None}
        groups = {
            group: set(ids) & labelled
            for group, ids in config.dataset.scene_groups.items()
            if group != "train_scenes"
        }
        scored = sorted(group for group, ids in groups.items() if ids and ids <= predicted)
        return [e.get_output_uri(g) for e in config.evaluators for g in scored]
    if step == "chip":
        dataset = config.dataset.get_split_config(split, of)
        empty = not dataset.train_scenes and not dataset.validation_scenes
        return [] if empty else [f"{config.chip_uri}/{split}-of-{of}.zip"]
    if step == "bundle":
        return [config.get_model_bundle_uri()]
    return []


def delete_outputs(store: Store, run: Run, uris: Sequence[str]) -> None:
    """Delete outputs of a run, files or folders.

    URIs are ignored unless they are below the run's ``rv/`` or derived from predictions.
    """
    for uri in uris:
        if not uri.startswith(f"{run.rv_uri}/") and uri not in _derived_uris(run):
            continue
        key = store.key(uri)
        siblings = (k for k, _ in store.files(key.rpartition("/")[0]))
        store.delete([k for k in siblings if k == key or k.startswith(f"{key}/")])


def _derived_uris(run: Run) -> tuple[str, ...]:
    """Return the URIs of COG copies and counts, which readers use instead of the predictions."""
    tables = (f"{run.uri}/tables/{table.name}.parquet" for table in COUNTED_TABLES)
    return f"{run.uri}/{COPIES_FOLDER}", *tables


def _predicted_scenes(config: Any, split: int, of: int) -> list[Any]:
    dataset = config.dataset.get_split_config(split, of)
    return [*dataset.validation_scenes, *dataset.test_scenes]


def _prediction_uri(scene: Any) -> str:
    uri: str = scene.label_store.uri
    is_folder = type(scene.label_store).__name__ == "SemanticSegmentationLabelStoreConfig"
    return f"{uri}/labels.tif" if is_folder else uri
