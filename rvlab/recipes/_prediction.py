"""Predict new imagery with the model of a run; `rvlab.Lab.predict` submits this recipe.

The config comes from the model's bundle; its scenes are replaced by the new images, as test scenes.
The model and the statistics of its imagery are copied from the bundle into the run, which then
needs no other run.

Needs: a model bundle of Raster Vision.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

from rastervision.core.rv_pipeline import RVPipelineConfig
from rastervision.pipeline.config import build_config, upgrade_config
from rastervision.pipeline.file_system import (
    download_if_needed,
    file_to_json,
    get_tmp_dir,
    sync_to_dir,
    unzip,
    upload_or_copy,
)

from rvlab.errors import SpecError, StoreError
from rvlab.recipes import data_dir

RUN_KIND = "prediction"

SEGMENTATION = "semantic_segmentation"
STEP_FOLDERS = ("analyze", "chip", "train", "predict", "eval", "bundle")


def get_config(
    runner: Any,
    *,
    root_uri: str,
    request_uri: data_dir.SharedFile,
    overlap: float | None = 0.25,
    scores: bool = True,
    model: str | None = None,
) -> RVPipelineConfig:
    """Return the config of a bundle with other scenes.

    Args:
        runner: Given by Raster Vision.
        root_uri: Where this run's output goes.
        request_uri: A JSON file with ``bundle_uri``, ``bundle/model-bundle.zip`` of a run;
            ``bundle_sha256``, in hexadecimal; and ``scenes``, a dict per scene with ``id``,
            ``files`` and ``labels`` (a file or null). ``files`` are pairs of a file and its
            channels, counted from 0; null uses the channels of the bundle's config. There is a pair
            for each source of the bundle's imagery, or the channels of the files are joined.
        overlap: Fraction of a window that overlaps the next one, for a semantic segmentation. None
            uses the predict options of the bundle.
        scores: Whether a semantic segmentation stores the scores of each class.
        model: The version of the promoted model, such as ``vegas-buildings:2``, for the record.

    Raises:
        StoreError: If the bundle has changed.
        SpecError: If its config has no scene with settings of imagery or labels, or `request_uri`
            is not a JSON file, as in a run that is created in Kubeflow's pages.
    """
    if not request_uri.endswith(".json"):
        raise SpecError(
            f"request_uri must be a JSON file that lab.predict wrote, got {request_uri!r}. Start "
            "predictions with lab.predict, or clone one."
        )
    request = file_to_json(request_uri)
    with get_tmp_dir() as folder:
        config = _unpack_bundle(request, root_uri, Path(folder))
    bundle_scenes = [
        scene
        for group in ("validation", "train", "test")
        for scene in config["dataset"].get(f"{group}_scenes") or []
    ]
    config["dataset"] |= {
        "train_scenes": [],
        "validation_scenes": [],
        "test_scenes": [
            _scene(config, bundle_scenes, image, scores) for image in request["scenes"]
        ],
        "scene_groups": {},
    }
    config |= {f"{step}_uri": None for step in STEP_FOLDERS}
    config |= {"root_uri": root_uri, "analyzers": []}
    config["evaluators"] = [
        evaluator | {"output_uri": None} for evaluator in config.get("evaluators") or []
    ]
    data = config["backend"]["data"]
    if "scene_dataset" in data:  # training windows of the bundle's scenes
        data |= {"scene_dataset": None, "sampling": {}}
    if overlap is not None and _is_segmentation(config):
        config["predict_options"] |= window_options(config["predict_options"]["chip_sz"], overlap)
    prediction_config: RVPipelineConfig = build_config(config)
    return prediction_config


def _unpack_bundle(request: dict[str, Any], root_uri: str, folder: Path) -> dict[str, Any]:
    """Copy the model and the statistics of a bundle to the run, and return the bundle's config."""
    bundle = folder / "bundle"
    archive = download_if_needed(request["bundle_uri"], str(folder))
    _require_digest(archive, request["bundle_uri"], request["bundle_sha256"])
    unzip(archive, str(bundle))
    config: dict[str, Any] = upgrade_config(
        json.loads((bundle / "pipeline-config.json").read_text())
    )
    upload_or_copy(str(bundle / "model-bundle.zip"), f"{root_uri}/train/model-bundle.zip")
    if (bundle / "stats.json").is_file():  # written by an early Raster Vision
        (bundle / "analyze").mkdir(exist_ok=True)
        shutil.copy(bundle / "stats.json", bundle / "analyze")
    if (bundle / "analyze").is_dir():
        sync_to_dir(str(bundle / "analyze"), f"{root_uri}/analyze")
        _reset_statistics(config, root_uri)
    return config


def window_options(chip_px: int, overlap: float) -> dict[str, int | None]:
    """Return the predict options of windows that overlap by a fraction of their side."""
    crop = round(chip_px * overlap / 2)
    return {"stride": chip_px - 2 * crop, "crop_sz": crop or None}


def _require_digest(path: str, uri: str, expected: str) -> None:
    with Path(path).open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise StoreError(
            f"The bundle {uri} has changed since the prediction was submitted: its SHA-256 was "
            f"{expected}, now it is {found}. Submit the prediction again."
        )


def _is_segmentation(config: dict[str, Any]) -> bool:
    return str(config["type_hint"]).startswith(SEGMENTATION)


def _reset_statistics(config: dict[str, Any], root_uri: str) -> None:
    """Point the transformers to the bundle's statistics in this run, as RV's Predictor does."""
    dataset = config["dataset"]
    for group in ("validation", "train", "test"):
        for scene in dataset.get(f"{group}_scenes") or []:
            for transformer in scene["raster_source"].get("transformers") or []:
                if transformer.get("type_hint") == "stats_transformer":
                    is_old = transformer.get("scene_group") == "__N/A__"
                    transformer["stats_uri"] = f"{root_uri}/analyze/stats.json" if is_old else None


def _scene(
    config: dict[str, Any], bundle_scenes: list[dict[str, Any]], image: dict[str, Any], scores: bool
) -> dict[str, Any]:
    """Return the config of a scene with the settings of a scene of the bundle."""
    if not bundle_scenes:
        raise SpecError(
            "The config of the bundle has no scene, so the settings of its imagery are unknown."
        )
    scene = deepcopy(bundle_scenes[0])
    store = scene.get("label_store")
    if store is not None:
        store["uri"] = None
        if _is_segmentation(config):
            store["vector_output"] = []
            if scores and not store.get("smooth_output"):
                store["smooth_as_uint8"] = True
            store["smooth_output"] = scores
    scene |= {
        "id": image["id"],
        "raster_source": _raster_source(scene["raster_source"], image["files"]),
        "label_source": _label_source(bundle_scenes, image["labels"])
        if image.get("labels")
        else None,
        "aoi_uris": None,
    }
    return scene


def _raster_source(bundle_source: dict[str, Any], files: list[list[Any]]) -> dict[str, Any]:
    """Return the raster source of an image: a file for each source of the bundle, or other bands.

    Other bands are chosen from a single file, or joined from several files, in the order of the
    model's channels.
    """
    leaves = list(_sources_of_files(bundle_source))
    if len(files) == len(leaves) and all(channels is None for _, channels in files):
        return _replace_files(bundle_source, iter([uri for uri, _ in files]))

    def source(uri: str, channels: list[int] | None) -> dict[str, Any]:
        return leaves[0] | {
            "uris": [uri],
            "channel_order": channels,
            "bbox": None,
            "transformers": [],
        }

    transformers = {"transformers": bundle_source.get("transformers") or []}
    if len(files) == 1:
        return source(*files[0]) | transformers
    return {
        "type_hint": "multi_raster_source",
        "raster_sources": [source(*file) for file in files],
        "primary_source_idx": 0,
        **transformers,
    }


def _sources_of_files(source: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the file sources of a raster source, in order; a multi raster source has several."""
    if "raster_sources" not in source:
        yield source
    for part in source.get("raster_sources", []):
        yield from _sources_of_files(part)


def _replace_files(source: dict[str, Any], uris: Iterator[str]) -> dict[str, Any]:
    """Return a raster source with other files, in the order of `_sources_of_files`."""
    if "raster_sources" not in source:
        return source | {"uris": [next(uris)], "bbox": None}
    parts = [_replace_files(part, uris) for part in source["raster_sources"]]
    return source | {"raster_sources": parts, "bbox": None}


def _label_source(bundle_scenes: list[dict[str, Any]], uri: str) -> dict[str, Any]:
    """Return a label source of the bundle's config with another file."""
    labelled = [scene for scene in bundle_scenes if scene.get("label_source")]
    if not labelled:
        raise SpecError(
            "The scenes of the bundle have no labels, so the settings for labels are unknown."
        )
    label_source: dict[str, Any] = deepcopy(labelled[0]["label_source"])
    holder = label_source.get("raster_source") or label_source
    holder = holder.get("vector_source") or holder
    holder["uris"] = [uri]
    if "bbox" in holder:
        holder["bbox"] = None
    return label_source
