"""Raster Vision configs of the small models, loadable in any process on any machine."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

from rvlab.recipes import data_dir


def zip_module(source: Path, target: Path) -> None:
    """Zip one Python file as the ``hubconf.py`` of a Torch Hub module, with reproducible bytes."""
    info = zipfile.ZipInfo("hubconf.py", date_time=(1980, 1, 1, 0, 0, 0))
    info.external_attr = 0o644 << 16
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(info, source.read_bytes())


def external_model_config(data_uri: str, entrypoint: str, **arguments: Any) -> Any:
    """Return Raster Vision's config of a model whose source is in the store.

    Args:
        data_uri: Folder for the zipped source. Its name contains a hash of the source, so a newer
            rvlab does not change the model of an older run.
        entrypoint: The name of the function that creates the model, and of its module in this
            package.
        arguments: Keyword arguments of the function.

    Returns:
        An ``ExternalModuleConfig``.

    Raises:
        StoreError: If the folder cannot be read or written.
    """
    from rastervision.pytorch_learner import ExternalModuleConfig

    source = Path(__file__).with_name(f"{entrypoint}.py")
    name = f"{entrypoint}-{hashlib.sha256(source.read_bytes()).hexdigest()[:8]}.zip"
    uris = data_dir.make_missing(data_uri, {name: lambda path: zip_module(source, path)})
    return ExternalModuleConfig(uri=uris[name], entrypoint=entrypoint, entrypoint_kwargs=arguments)


def small_unet(data_uri: str, *, classes: int, width: int) -> Any:
    """Return Raster Vision's config of a small U-Net.

    Args:
        data_uri: See `external_model_config`.
        classes: Number of classes.
        width: Channels at full resolution; deeper levels have 2 and 4 times as many.

    Returns:
        A ``SemanticSegmentationModelConfig``.

    Raises:
        StoreError: If the folder cannot be read or written.
    """
    from rastervision.pytorch_learner import SemanticSegmentationModelConfig

    definition = external_model_config(data_uri, "unet", classes=classes, width=width)
    return SemanticSegmentationModelConfig(external_def=definition, pretrained=False)


def small_convnet(data_uri: str, *, classes: int, width: int) -> Any:
    """Return Raster Vision's config of a small network for chip classification.

    Args:
        data_uri: See `external_model_config`.
        classes: Number of classes.
        width: Channels at full resolution; deeper levels have 2, 4 and 8 times as many.

    Returns:
        A ``ClassificationModelConfig``.

    Raises:
        StoreError: If the folder cannot be read or written.
    """
    from rastervision.pytorch_learner import ClassificationModelConfig

    definition = external_model_config(data_uri, "convnet", classes=classes, width=width)
    return ClassificationModelConfig(external_def=definition, pretrained=False)


def small_detector(data_uri: str, *, classes: int, width: int, chip_px: int) -> Any:
    """Return Raster Vision's config of a small Faster R-CNN.

    Args:
        data_uri: See `external_model_config`.
        classes: Number of classes.
        width: Channels at full resolution; deeper levels have 2, 4 and 8 times as many.
        chip_px: Side of the chips.

    Returns:
        An ``ObjectDetectionModelConfig``.

    Raises:
        StoreError: If the folder cannot be read or written.
    """
    from rastervision.pytorch_learner import ObjectDetectionModelConfig

    definition = external_model_config(
        data_uri, "detector", classes=classes, width=width, chip_px=chip_px
    )
    return ObjectDetectionModelConfig(external_def=definition, pretrained=False)
