"""Patches of Raster Vision's behaviour.

Each function changes one behaviour of Raster Vision 0.31, gives the reason, and has a test in
``tests/worker/test_rv_patches.py`` that shows the behaviour without the patch. `apply_patches`
applies all of them, once in each process that runs a step.
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

from rvlab.errors import StoreUnreachable
from rvlab.store.obstore_errors import BUSY
from rvlab.store.patience import OutageLog, patience_s, retry_until
from rvlab.worker.bucket_clients import BucketClients
from rvlab.worker.rv_imagery import patch_mosaics, patch_sidecar_downloads

_T = TypeVar("_T")

_S3 = BucketClients()

_log = logging.getLogger("rvlab")


def apply_patches(scratch: Path, seed: int, *, split: int = 0, splits: int = 1) -> None:
    """Apply all patches of Raster Vision in this process.

    Args:
        scratch: An empty folder for this step only.
        seed: The run's seed.
        split: The split that runs in this process.
        splits: The number of splits.
    """
    from rvlab.worker import rv_evaluation, rv_label_patches

    patch_download_cache(scratch)
    seed_generators(seed + split)
    patch_augmentor_seeds(seed + split)
    patch_export_failure()
    patch_s3_errors()
    patch_chip_names(split, splits)
    rv_evaluation.patch_segmentation_evaluation()
    patch_empty_validation()
    rv_label_patches.patch_numpy_int0()
    rv_label_patches.patch_datasets_without_labels()
    rv_label_patches.patch_evaluation_without_labels()
    patch_mosaics()
    patch_sidecar_downloads()


def patch_download_cache(scratch: Path) -> None:
    """Give each step an empty download cache.

    Raster Vision caches downloads in ``$TMPDIR/cache`` and never checks whether they changed: eval
    scored the predictions of an earlier run. If the root is on S3, it also writes an external
    module to the working folder. So `scratch` becomes the cache and the working folder.
    """
    import tempfile

    from rastervision.pipeline import rv_config_

    scratch.mkdir(parents=True, exist_ok=True)
    os.environ["TMPDIR"] = str(scratch)
    tempfile.tempdir = str(scratch)
    rv_config_.set_tmp_dir_root(str(scratch))
    os.chdir(scratch)


def seed_generators(seed: int) -> None:
    """Seed Python, numpy and torch, because Raster Vision sets no seed.

    The data loaders and their workers derive their seeds from torch's.
    """
    import numpy as np
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False


def patch_augmentor_seeds(seed: int) -> None:
    """Seed albumentations, whose ``Compose`` ignores global seeds since version 2.0."""
    import albumentations

    patch_once(albumentations.Compose, "__init__", lambda original: _seeding_init(original, seed))


def _seeding_init(original: Any, seed: int) -> Any:
    @wraps(original)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        if kwargs.get("seed") is None:
            kwargs["seed"] = seed % 2**32
        original(self, *args, **kwargs)

    return init


def patch_export_failure() -> None:
    """Export to ONNX without dynamo, and turn a failed export into a warning.

    Since torch 2.9 the default exporter needs ``onnxscript``, which Raster Vision does not install:
    train failed in the export after all epochs. Raster Vision has no setting that turns the export
    off.
    """
    from rastervision.pytorch_learner.learner import Learner

    patch_once(Learner, "export_to_onnx", _tolerant_export)


def _tolerant_export(original: Any) -> Any:
    @wraps(original)
    def export(self: Any, path: str, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("dynamo", False)
        try:
            original(self, path, *args, **kwargs)
        except Exception as exc:  # noqa: BLE001  no failed export may discard the trained weights
            Path(path).unlink(missing_ok=True)
            _log.warning("The model cannot be exported to ONNX, so the bundle has none: %s", exc)

    return export


def patch_chip_names(split: int, splits: int) -> None:
    """Name the zip of chips after its split instead of a random UUID.

    A repeated ``chip`` step wrote a second zip beside the first, and the model trained on every
    chip twice. With a fixed name it overwrites the first.
    """
    from rastervision.pytorch_backend import (
        pytorch_chip_classification,
        pytorch_object_detection,
        pytorch_semantic_segmentation,
    )

    fixed_uuid = SimpleNamespace(uuid4=lambda: f"{split}-of-{splits}")
    for module in (
        pytorch_chip_classification,
        pytorch_object_detection,
        pytorch_semantic_segmentation,
    ):
        module.uuid = fixed_uuid


def patch_empty_validation() -> None:
    """Allow scenes of a chip classification whose GeoJSON has no polygon.

    All their cells are background. But the table of an empty GeoJSON has no columns, so chip
    failed with "All label polygons must have a class_id."
    """
    from rastervision.core.data import ChipClassificationLabelSource

    patch_once(ChipClassificationLabelSource, "validate_labels", _lenient_validate)


def _lenient_validate(original: Any) -> Any:
    @wraps(original)
    def validate(self: Any, polygons: Any) -> None:
        if polygons.empty and "class_id" not in polygons.columns:
            # Floats, as in a non-empty table.
            polygons["class_id"] = [float(n) for n in polygons.index]
        original(self, polygons)

    return validate


def patch_s3_errors() -> None:
    """Use one boto3 client for Raster Vision's S3 calls, and raise their failures.

    Raster Vision runs the ``aws`` executable to copy folders and ignores its exit status: with a
    wrong secret the step succeeded although nothing was uploaded. It treats every denied request as
    "does not exist". It creates a new boto3 session for each call, 0.3 s of CPU time each. With
    the patch each call also waits for a server that does not answer, as rvlab's own calls do.
    """
    try:
        from rastervision.aws_s3.s3_file_system import S3FileSystem
    except ImportError:  # the S3 plugin of Raster Vision is not installed
        return

    S3FileSystem.get_client = staticmethod(lambda: _S3)
    S3FileSystem.file_exists = staticmethod(_with_retries(_exists))
    S3FileSystem.sync_from_dir = staticmethod(_with_retries(_download_folder))
    S3FileSystem.sync_to_dir = staticmethod(_with_retries(_Uploads().folder))
    for name in RETRIED_CALLS:
        patch_once(S3FileSystem, name, lambda original: staticmethod(_with_retries(original)))


RETRIED_CALLS = ("read_bytes", "write_bytes", "copy_to", "copy_from", "last_modified", "list_paths")
"""Raster Vision's S3 calls that are retried; all are idempotent."""


def _with_retries(call: Callable[..., _T]) -> Callable[..., _T]:
    """Retry a call while the S3 server does not answer; see `rvlab.store.patience`."""
    wait_s = patience_s()
    outage = OutageLog(wait_s)

    @wraps(call)
    def patient(*args: Any, **kwargs: Any) -> _T:
        return retry_until(lambda: call(*args, **kwargs), wait_s, outage, _is_transient)

    return patient


def _is_transient(exc: BaseException) -> bool:
    """Return whether a failed call to S3 may succeed when it is retried.

    The boto3 error may be the cause or the context of a Raster Vision error.
    """
    import boto3.exceptions
    import urllib3.exceptions
    from botocore import exceptions as boto
    from botocore.parsers import ResponseParserError

    connection_errors = (
        ConnectionError,
        TimeoutError,
        boto.ConnectionError,
        boto.HTTPClientError,
        boto.IncompleteReadError,
        boto.ResponseStreamingError,
        boto3.exceptions.RetriesExceededError,
        urllib3.exceptions.HTTPError,
        ResponseParserError,
        StoreUnreachable,
    )
    current: BaseException | None = exc
    while current is not None:
        if isinstance(current, boto.ClientError):
            status = current.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            code = current.response.get("Error", {}).get("Code", "")
            return str(status) in BUSY or code in ("RequestTimeout", "SlowDown")
        if isinstance(current, connection_errors):
            return True
        current = current.__cause__ or current.__context__
    return False


def _list_keys(uri: str) -> list[tuple[str, str]]:
    """List all keys below a folder's URI, each with its path relative to the folder."""
    from rastervision.aws_s3.s3_file_system import S3FileSystem

    bucket, prefix = S3FileSystem.parse_uri(uri.rstrip("/") + "/")
    client = _S3.client(bucket)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
    return [(key, key[len(prefix) :]) for key in keys if not key.endswith("/")]


def _exists(uri: str, include_dir: bool = True) -> bool:
    """Replace ``S3FileSystem.file_exists``; a denied request raises."""
    from botocore.exceptions import ClientError
    from rastervision.aws_s3.s3_file_system import S3FileSystem

    bucket, key = S3FileSystem.parse_uri(uri)
    if include_dir:
        listing = _S3.list_objects_v2(Bucket=bucket, Prefix=key.rstrip("/") + "/", MaxKeys=1)
        if listing["KeyCount"]:
            return True
    try:
        _S3.head_object(Bucket=bucket, Key=key)
    except ClientError as exc:
        if exc.response["Error"]["Code"] in ("404", "NoSuchKey", "NotFound"):
            return False
        raise
    return True


def _download_folder(src_dir_uri: str, dst_dir: str, delete: bool = False) -> None:
    """Replace ``S3FileSystem.sync_from_dir`` without the ``aws`` executable."""
    import shutil

    from rastervision.aws_s3.s3_file_system import S3FileSystem

    bucket, _ = S3FileSystem.parse_uri(src_dir_uri)
    if delete:
        shutil.rmtree(dst_dir, ignore_errors=True)
    for key, name in _list_keys(src_dir_uri):
        path = (Path(dst_dir) / name).resolve()
        if not path.is_relative_to(Path(dst_dir).resolve()):
            raise ValueError(f"The key {key!r} would be written outside {dst_dir}.")
        path.parent.mkdir(parents=True, exist_ok=True)
        _S3.download_file(Bucket=bucket, Key=key, Filename=str(path))


class _Uploads:
    """Uploads of folders that skip files unchanged since this process uploaded them."""

    def __init__(self) -> None:
        self._sent: dict[tuple[str, str], tuple[int, int]] = {}

    def folder(self, src_dir: str, dst_dir_uri: str, delete: bool = False) -> None:
        """Replace ``S3FileSystem.sync_to_dir`` without the ``aws`` executable."""
        from rastervision.aws_s3.s3_file_system import S3FileSystem

        bucket, prefix = S3FileSystem.parse_uri(dst_dir_uri.rstrip("/"))
        names = set()
        for path in sorted(p for p in Path(src_dir).rglob("*") if p.is_file()):
            name = path.relative_to(src_dir).as_posix()
            names.add(name)
            stat = path.stat()
            state = (stat.st_mtime_ns, stat.st_size)
            if self._sent.get((str(path), dst_dir_uri)) == state:
                continue
            _S3.upload_file(Filename=str(path), Bucket=bucket, Key=f"{prefix}/{name}")
            self._sent[str(path), dst_dir_uri] = state
        if delete:
            for key, name in _list_keys(dst_dir_uri):
                if name not in names:
                    _S3.delete_object(Bucket=bucket, Key=key)


def patch_once(owner: Any, name: str, wrapped: Any) -> None:
    """Wrap a method, always starting from the original, so that repeated calls do not nest."""
    current = getattr(owner, name)
    original = getattr(current, "_rvlab_original", current)
    new = wrapped(original)
    function: Any = new.__func__ if isinstance(new, staticmethod) else new
    function._rvlab_original = original
    setattr(owner, name, new)
