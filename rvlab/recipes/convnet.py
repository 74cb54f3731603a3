"""A small convolutional network for chip classification, in one file that needs torch alone.

The recipes put this very file into the store, zipped as the ``hubconf.py`` of a Torch Hub module,
so that every later step loads the model from there, on whatever machine it runs.
"""

from __future__ import annotations

import torch
from torch import nn

dependencies = ["torch"]


class ConvNet(nn.Module):  # type: ignore[misc]
    """Halve the resolution and double the channels, then score the maximum and mean features.

    Args:
        bands: Channels of the image.
        classes: Number of scores.
        width: Channels at full resolution.
        levels: How many resolutions, the full one included.
        momentum: Weight of the newest batch in the running statistics that prediction uses; more
            than torch's 0.1, so that a training of a few dozen steps has forgotten its start.
    """

    def __init__(self, bands: int, classes: int, width: int, levels: int, momentum: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = bands
        for level in range(levels):
            after = width * 2**level
            layers += [
                nn.Conv2d(before, after, 3, padding=1, bias=False),
                nn.BatchNorm2d(after, momentum=momentum),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(2, ceil_mode=True),
            ]
            before = after
        self.body = nn.Sequential(*layers)
        self.scores = nn.Linear(2 * before, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Score each chip.

        Args:
            x: Shape ``(batch, bands, height, width)``, of any height and width.

        Returns:
            Raw scores of shape ``(batch, classes)``.
        """
        x = self.body(x)
        scores: torch.Tensor = self.scores(torch.cat([x.amax((2, 3)), x.mean((2, 3))], dim=1))
        return scores


def convnet(
    classes: int, *, bands: int = 3, width: int = 8, levels: int = 4, momentum: float = 0.3
) -> ConvNet:
    """Return an untrained network; the entry point for Torch Hub. See :class:`ConvNet`."""
    return ConvNet(bands, classes, width, levels, momentum)
