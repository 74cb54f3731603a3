"""Windows of a prediction that overlap, so that no seams show between them.

At the edge of a window, a model has less context, and its convolutions pad with zeros. Raster
Vision's ``crop_sz`` discards the edges, but pads the scene with black pixels for its outer windows,
in which many models find objects. Here all windows are inside the scene, the last ones of a row or
column overlap more, and each pixel has the prediction of the window in which it is furthest from an
edge.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from rvlab.worker.rv_patches import patch_once


def patch_overlap() -> None:
    """Predict a semantic segmentation in windows that overlap by ``chip_sz - stride``."""
    from rastervision.pytorch_backend import pytorch_semantic_segmentation as backend

    patch_once(backend, "predict_scene_ss", lambda _: _predict_scene)


def window_spans(length: int, size: int, stride: int) -> list[tuple[int, int, int]]:
    """Return the start of each window along one side of a scene, and which of its pixels are used.

    Args:
        length: Pixels of the side.
        size: Side of a window.
        stride: Pixels between the starts of two windows.

    Returns:
        ``(start, first, stop)`` of each window. Its prediction is used for the pixels from `first`
        up to but not including `stop`; these ranges cover each pixel of the side once. A window
        extends beyond the scene only if the scene is smaller than the window.
    """
    starts = [*range(0, length - size, stride), max(length - size, 0)]
    borders = [(low + size + high) // 2 for low, high in pairwise(starts)]
    return list(zip(starts, [0, *borders], [*borders, length], strict=True))


def _predict_scene(learner: Any, scene: Any, predict_options: Any) -> Any:
    """Predict a scene, as Raster Vision's ``predict_scene_ss`` with other windows."""
    from rastervision.core.box import Box
    from rastervision.core.data import SemanticSegmentationLabels
    from rastervision.pytorch_learner.dataset import SemanticSegmentationSlidingWindowGeoDataset

    size, stride = predict_options.chip_sz, predict_options.stride
    store = scene.label_store
    transform, _ = learner.cfg.data.get_data_transforms()
    dataset = SemanticSegmentationSlidingWindowGeoDataset(
        scene, size=size, stride=size, transform=transform
    )
    height, width = scene.extent.size
    across = window_spans(width, size, stride)
    windows, cores = [], []
    for top, first_row, stop_row in window_spans(height, size, stride):
        for left, first_col, stop_col in across:
            windows.append(Box(top, left, top + size, left + size))
            cores.append(Box(first_row, first_col, stop_row, stop_col))
    dataset.windows = windows
    predictions = learner.predict_dataset(
        dataset,
        raw_out=store.smooth_output,
        numpy_out=True,
        predict_kw={"out_shape": (size, size)},
        dataloader_kw={"batch_size": predict_options.batch_sz},
        progress_bar=True,
        progress_bar_kw={"desc": f"Making predictions on {scene.id}"},
    )
    labels = SemanticSegmentationLabels.make_empty(
        scene.extent, len(store.class_config), smooth=store.smooth_output
    )
    # zip must reach the end of the predictions first, or their progress bar would not end.
    for values, window, core in zip(predictions, windows, cores, strict=True):
        rows, cols = core.to_local_coords(window).to_slices()
        labels[core] = values[..., rows, cols]
    return labels
