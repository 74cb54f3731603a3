"""The small U-Net as a model that Raster Vision can load in any process, on any machine."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

from rvlab.recipes import place


def pack(source: Path, target: Path) -> None:
    """Zip one Python file as the ``hubconf.py`` of a Torch Hub module; always the same bytes."""
    info = zipfile.ZipInfo("hubconf.py", date_time=(1980, 1, 1, 0, 0, 0))
    info.external_attr = 0o644 << 16
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(info, source.read_bytes())


def small_unet(data_uri: str, *, classes: int, width: int) -> Any:
    """Raster Vision's config of a small U-Net whose source lies in the store.

    Args:
        data_uri: Folder for the zipped source. Its name holds a hash of what is in it, so a newer
            rvlab does not change the model of an older run.
        classes: Number of classes.
        width: Channels at full resolution; deeper levels have 2 and 4 times as many.

    Returns:
        A ``SemanticSegmentationModelConfig``.

    Raises:
        StoreError: If the folder cannot be read or written.
    """
    from rastervision.pytorch_learner import ExternalModuleConfig, SemanticSegmentationModelConfig

    source = Path(__file__).with_name("unet.py")
    name = f"unet-{hashlib.sha256(source.read_bytes()).hexdigest()[:8]}.zip"
    uris = place.fill(data_uri, {name: lambda path: pack(source, path)})
    definition = ExternalModuleConfig(
        uri=uris[name], entrypoint="unet", entrypoint_kwargs={"classes": classes, "width": width}
    )
    return SemanticSegmentationModelConfig(external_def=definition, pretrained=False)
