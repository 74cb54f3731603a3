"""Patches of Raster Vision for scenes without labels and for vectorized predictions.

As in `rvlab.worker.rv_patches`, each function gives its reason and has a test that shows the
behaviour without the patch.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import wraps
from typing import Any

from rvlab.worker.rv_patches import patch_once


def patch_numpy_int0() -> None:
    """Restore the alias ``numpy.int0``, which numpy 2.0 removed.

    `BuildingVectorOutputConfig` uses it, so predict failed after the training of the model with
    "module 'numpy' has no attribute 'int0'". It was an alias of ``numpy.intp``.
    """
    import numpy as np

    if not hasattr(np, "int0"):
        np.int0 = np.intp  # type: ignore[attr-defined]


def patch_datasets_without_labels() -> None:
    """Make no chips and no training windows of scenes without labels.

    Raster Vision makes chips of test scenes too, although training does not use them. Without
    labels it wrote images without masks, and train failed ("There should be a label file for every
    image file"). For a chip classification or an object detection, the chip step failed.
    `rvlab.worker.checks` rejects training and validation scenes without labels.
    """
    from rastervision.pytorch_learner import GeoDataConfig

    patch_once(GeoDataConfig, "build_scenes", _build_labelled)


def _build_labelled(original: Any) -> Any:
    @wraps(original)
    def build_scenes(self: Any, scene_configs: Iterable[Any], *args: Any, **kwargs: Any) -> Any:
        labelled = [scene for scene in scene_configs if scene.label_source is not None]
        return original(self, labelled, *args, **kwargs)

    return build_scenes


def patch_evaluation_without_labels() -> None:
    """Skip scenes without labels in eval, and write nothing for a group of only such scenes.

    A single such scene ended eval with "'NoneType' object has no attribute 'get_labels'", and no
    group had metrics, not even validation.
    """
    from rastervision.core.evaluation import ClassificationEvaluator

    patch_once(ClassificationEvaluator, "process", _evaluate_labelled)


def _evaluate_labelled(original: Any) -> Any:
    @wraps(original)
    def process(self: Any, scenes: Iterable[Any], *args: Any, **kwargs: Any) -> None:
        all_scenes = list(scenes)
        labelled = [scene for scene in all_scenes if scene.label_source is not None]
        omitted = [scene for scene in all_scenes if scene.label_source is None]
        if omitted:
            print(f"Scenes without labels are not scored: {', '.join(s.id for s in omitted)}.")
        if labelled:
            original(self, labelled, *args, **kwargs)

    return process
