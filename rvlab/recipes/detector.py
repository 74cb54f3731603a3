"""A small Faster R-CNN for object detection, in one file that needs torch and torchvision alone.

The recipes put this very file into the store, zipped as the ``hubconf.py`` of a Torch Hub module,
so that every later step loads the model from there, on whatever machine it runs. Raster Vision's
own Faster R-CNN has a ResNet with a feature pyramid, designed for photographs of any scale. In
imagery of one ground sampling distance, one resolution of features is enough.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign

dependencies = ["torch", "torchvision"]

STRIDE_PX = 8
"""Pixels of the image to one of the features."""


def backbone(bands: int, width: int, momentum: float) -> nn.Sequential:
    """Return a backbone that halves the resolution three times and has ``8 * width`` channels.

    Args:
        bands: Channels of the image.
        width: Channels at full resolution.
        momentum: Weight of the newest batch in the running statistics that prediction uses; more
            than torch's 0.1, so that a training of a few dozen steps has forgotten its start.
    """
    layers: list[nn.Module] = []
    before = bands
    for after, stride in ((width, 1), (2 * width, 2), (4 * width, 2), (8 * width, 2)):
        for step, channels in ((stride, before), (1, after)):
            layers += [
                nn.Conv2d(channels, after, 3, stride=step, padding=1, bias=False),
                nn.BatchNorm2d(after, momentum=momentum),
                nn.ReLU(inplace=True),
            ]
        before = after
    made = nn.Sequential(*layers)
    made.out_channels = before
    return made


def detector(
    classes: int,
    *,
    chip_px: int,
    bands: int = 3,
    width: int = 8,
    sizes_px: Sequence[int] = (24, 40, 64, 96),
    momentum: float = 0.3,
) -> FasterRCNN:
    """Return an untrained Faster R-CNN; the entry point for Torch Hub.

    Args:
        classes: Number of classes, the background not counted.
        chip_px: Side of the chips; Faster R-CNN resizes its input to it.
        bands: Channels of the image.
        width: Channels at full resolution.
        sizes_px: Sides of the anchor boxes at every position.
        momentum: See `backbone`.
    """
    pool = MultiScaleRoIAlign(featmap_names=["0"], output_size=5, sampling_ratio=2)
    features = backbone(bands, width, momentum)
    hidden = 16 * width
    return FasterRCNN(
        features,
        min_size=chip_px,
        max_size=chip_px,
        image_mean=[0.5] * bands,
        image_std=[0.25] * bands,
        rpn_anchor_generator=AnchorGenerator((tuple(sizes_px),), ((0.5, 1.0, 2.0),)),
        rpn_pre_nms_top_n_train=500,
        rpn_pre_nms_top_n_test=300,
        rpn_post_nms_top_n_train=200,
        rpn_post_nms_top_n_test=100,
        rpn_batch_size_per_image=128,
        box_roi_pool=pool,
        box_head=TwoMLPHead(features.out_channels * 5 * 5, hidden),
        box_predictor=FastRCNNPredictor(hidden, classes + 1),  # the first is the background
        box_batch_size_per_image=64,
        box_nms_thresh=0.3,
        box_detections_per_img=50,
    )
