"""Checks of a config in the configure step, for errors that Raster Vision would raise later."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rvlab.errors import SpecError, StepError
from rvlab.model import Run
from rvlab.store import Store


def check_config(store: Store, run: Run, config: Any, steps: Sequence[str]) -> None:
    """Reject a config on which a later step would fail, and warn of resized chips.

    Args:
        store: The run's store.
        run: The run.
        config: Raster Vision's pipeline config, updated.
        steps: The commands that the config needs.

    Raises:
        StepError: If the config writes outside the run's folder, a training or validation scene
            has no labels, the predictions of two scenes would share a folder, or the config is an
            object detection with labelled test scenes and a chip step.
    """
    from rastervision.core.rv_pipeline import ObjectDetectionConfig

    for name, uri in _output_uris(config):
        if not _is_in_run(store, run, uri):
            raise StepError(
                f"{name} is {uri!r}, outside the run's folder. Omit it, or derive it from "
                f"root_uri, which is {run.rv_uri!r}."
            )
    _check_scene_ids(
        [s.id for s in (*config.dataset.validation_scenes, *config.dataset.test_scenes)]
    )
    unlabelled = [
        scene.id
        for scene in (*config.dataset.train_scenes, *config.dataset.validation_scenes)
        if scene.label_source is None
    ]
    if unlabelled:
        more = f" and {len(unlabelled) - 3} more" if len(unlabelled) > 3 else ""
        raise StepError(
            f"Scenes for training or validation have no label_source: "
            f"{', '.join(unlabelled[:3])}{more}. Give them labels, or move them to test_scenes, "
            "which are predicted and need none."
        )
    tests = sum(scene.label_source is not None for scene in config.dataset.test_scenes)
    if isinstance(config, ObjectDetectionConfig) and tests and "chip" in steps:
        raise StepError(
            f"{tests} of the test_scenes have labels, but Raster Vision cannot make chips for an "
            "object detection with such test scenes (KeyError: 'test'). Omit them or their labels, "
            "or train without chips, with an ObjectDetectionGeoDataConfig."
        )
    chip_px = getattr(config.predict_options, "chip_sz", None)
    img_px = getattr(getattr(config.backend, "data", None), "img_sz", None)
    if None not in (chip_px, img_px) and chip_px != img_px:
        print(
            f"rvlab: predict_options.chip_sz is {chip_px}, but img_sz is {img_px}, so predict "
            "resizes its chips. Set them equal, unless the training chips are resized as well."
        )


def _check_scene_ids(ids: Sequence[str]) -> None:
    """Reject an id that is a parent folder of another id.

    Before predict, a scene's older predictions are deleted with everything below their folder.
    """
    known = set(ids)
    for name in ids:
        parts = name.split("/")
        parent = next(
            (folder for n in range(1, len(parts)) if (folder := "/".join(parts[:n])) in known), None
        )
        if parent is not None:
            raise StepError(
                f"The predictions of the scene {name!r} would be in the folder of the scene "
                f"{parent!r}. Rename one of them."
            )


def _output_uris(config: Any) -> Iterator[tuple[str, str]]:
    """List the output fields of a config and the URI of each."""
    for step in ("analyze", "chip", "train", "predict", "eval", "bundle"):
        yield f"{step}_uri", getattr(config, f"{step}_uri")
    for name in ("analyzers", "evaluators"):
        for i, item in enumerate(getattr(config, name)):
            if uri := getattr(item, "output_uri", None):
                yield f"{name}[{i}].output_uri", uri
    for scene in (*config.dataset.validation_scenes, *config.dataset.test_scenes):
        if uri := getattr(scene.label_store, "uri", None):
            yield f"label_store.uri of the scene {scene.id!r}", uri


def _is_in_run(store: Store, run: Run, uri: str) -> bool:
    try:
        return store.key(uri).startswith(run.key("rv", ""))
    except SpecError:
        return False
