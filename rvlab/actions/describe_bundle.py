"""The description of a model by the bundle of its run: task, classes, input and architecture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rvlab.actions.bundle_code import read_bundle_config
from rvlab.errors import RvlabError, StoreError
from rvlab.raster.config import classes_from_config, color_hex
from rvlab.raster.gdal import open_files
from rvlab.raster.read import grid_of_dataset, source_bands
from rvlab.raster.scene import Scene, scenes_from_config, task_of_config
from rvlab.store import Store

LEARNER_CONFIG = "learner-config.json"


def describe_bundle(bundle: Path, inner: Path, run: str, store: Store) -> dict[str, Any]:
    """Return the fields of `VersionRecord` about a model: from its bundle and imagery.

    Args:
        bundle: The bundle of a run.
        inner: The bundle of the learner that it contains.
        run: The id of the run, for messages.
        store: The store of the run.

    Raises:
        StoreError: If a config is missing or malformed.
    """
    config = read_bundle_config(bundle, run)
    learner = read_bundle_config(inner, run, LEARNER_CONFIG)
    try:
        found = {**_model(learner), **_input(learner)}
        classes = classes_from_config(config)
        scenes = scenes_from_config(config, store)
        trained = [scene for scene in scenes if scene.group == "train"]
        return {
            **found,
            **_imagery(scenes),
            "task": task_of_config(config),
            "classes": classes.names,
            "colors": tuple(map(color_hex, classes.colors)),
            "null_class": classes.null,
            "train_scenes": len(trained) or None,
        }
    except (TypeError, ValueError, AttributeError) as exc:
        raise StoreError(f"The bundle of the run {run} has a malformed config: {exc}.") from exc


def _model(learner: Mapping[str, Any]) -> dict[str, Any]:
    model = learner.get("model") or {}
    own = model.get("external_def")
    if own is not None:  # weights of another training are then a matter of the recipe
        source = own.get("github_repo")
        named = f"{source}:{own.get('entrypoint')}" if source else own.get("entrypoint")
        return {"architecture": str(named or "unknown")}
    weights = model.get("init_weights")
    return {
        "architecture": str(model.get("backbone") or "unknown"),
        "pretrained": bool(model.get("pretrained")) or weights is not None,
        "pretrained_source": None if weights is None else str(weights),
    }


def _input(learner: Mapping[str, Any]) -> dict[str, Any]:
    data = learner.get("data") or {}
    sizes = {"channels": data.get("img_channels"), "chip_px": data.get("img_sz")}
    return {name: value if type(value) is int else None for name, value in sizes.items()}


def _imagery(scenes: list[Scene]) -> dict[str, Any]:
    """Describe the imagery by the header of the first readable image; empty if none is readable."""
    for scene in scenes:
        source = scene.image
        if source.parts or source.unsupported:
            continue
        try:
            with open_files(source.files) as dataset:
                bands = source_bands(source, dataset)
                names = _band_names(dataset, bands)
                return {
                    "channel_order": source.channel_order or (),
                    "bands": tuple(names) if len(set(names)) == len(bands) else (),
                    "dtype": str(dataset.dtypes[bands[0] - 1]),
                    "metres_per_px": grid_of_dataset(dataset).metres_per_px,
                }
        except RvlabError:  # moved or deleted since: the model can be used all the same
            continue
    order = scenes[0].image.channel_order if scenes else None
    return {"channel_order": order or ()}


def _band_names(dataset: Any, bands: list[int]) -> list[str]:
    """Return the descriptions or color interpretations of bands, if each has one."""
    from rasterio.enums import ColorInterp

    unnamed = (ColorInterp.undefined, ColorInterp.gray, ColorInterp.alpha)
    kinds, described = dataset.colorinterp, dataset.descriptions
    names = [
        described[band - 1] or ("" if kinds[band - 1] in unnamed else kinds[band - 1].name)
        for band in bands
    ]
    return [name[:100] for name in names] if all(names) else []
