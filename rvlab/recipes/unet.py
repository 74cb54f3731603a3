"""A small U-Net for semantic segmentation, in one file that needs torch alone.

The recipes put this very file into the store, zipped as the ``hubconf.py`` of a Torch Hub module,
so that every later step loads the model from there, on whatever machine it runs.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

dependencies = ["torch"]


class DoubleConv(nn.Sequential):  # type: ignore[misc]
    """Two 3 x 3 convolutions with batch normalisation and ReLU, of unchanged size.

    Args:
        bands_in: Input channels.
        bands_out: Output channels.
        momentum: Weight of the newest batch in the running statistics that prediction uses; more
            than torch's 0.1, so that a training of a few dozen steps has forgotten its start.
    """

    def __init__(self, bands_in: int, bands_out: int, momentum: float) -> None:
        layers: list[nn.Module] = []
        for bands in (bands_in, bands_out):
            layers += [
                nn.Conv2d(bands, bands_out, 3, padding=1, bias=False),
                nn.BatchNorm2d(bands_out, momentum=momentum),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)


class UNet(nn.Module):  # type: ignore[misc]
    """A U-Net: halve the resolution and double the channels, then upsample with skip connections.

    Args:
        bands: Channels of the image.
        classes: Channels of the result, one score per class.
        width: Channels at full resolution.
        levels: How many resolutions, the full one included.
        momentum: See :class:`DoubleConv`.
    """

    def __init__(self, bands: int, classes: int, width: int, levels: int, momentum: float) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(levels)]
        self.down = nn.ModuleList(
            DoubleConv(before, after, momentum)
            for before, after in zip([bands, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList(
            DoubleConv(below + beside, beside, momentum)
            for below, beside in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.scores = nn.Conv2d(width, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Score each pixel.

        Args:
            x: Shape ``(batch, bands, height, width)``, any height and width above ``2**levels``.

        Returns:
            Raw scores of shape ``(batch, classes, height, width)``.
        """
        seen: list[torch.Tensor] = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else functional.max_pool2d(x, 2))
            seen.append(x)
        for block, beside in zip(self.up, seen[-2::-1], strict=True):
            x = functional.interpolate(x, size=beside.shape[-2:], mode="nearest")
            x = block(torch.cat([x, beside], dim=1))
        scores: torch.Tensor = self.scores(x)
        return scores


def unet(
    classes: int, *, bands: int = 3, width: int = 8, levels: int = 3, momentum: float = 0.3
) -> UNet:
    """Return an untrained U-Net; the entry point for Torch Hub. See :class:`UNet`."""
    return UNet(bands, classes, width, levels, momentum)
