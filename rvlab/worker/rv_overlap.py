"""Windows of a prediction that overlap, so that no seams show between them.

A model sees less around a pixel at the edge of a window, and pads it with zeros. Raster Vision's
``crop_sz`` discards the edges, but pads the scene with black pixels for its outer windows, in which
many models find objects. Here all windows are inside the scene, the last ones of a row or column
overlap more, and each pixel has the prediction of the window in which it is furthest from an edge.
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
    """Return the start of each window along one side of a scene, and the pixels that it predicts.

    Args:
        length: Pixels of the side.
        size: Side of a window.
        stride: Pixels between the starts of two windows.

    Returns:
        ``(start, first, stop)`` of each window, which predicts the pixels from `first` to `stop`;
        each pixel of the side is in one of these ranges. A window is outside the scene only if the
        scene is smaller.
    """
    starts = [*range(0, length - size, stride), max(length - size, 0)]
    cuts = [(low + size + high) // 2 for low, high in pairwise(starts)]
    return list(zip(starts, [0, *cuts], [*cuts, length], strict=True))


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
    windows, kept = [], []
    for top, first_row, stop_row in window_spans(height, size, stride):
        for left, first_col, stop_col in across:
            windows.append(Box(top, left, top + size, left + size))
            kept.append(Box(first_row, first_col, stop_row, stop_col))
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
    # The predictions come first, or the progress bar would not end.
    for values, window, part in zip(predictions, windows, kept, strict=True):
        rows, cols = part.to_local_coords(window).to_slices()
        labels[part] = values[..., rows, cols]
    return labels
