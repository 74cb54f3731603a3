"""Tests of each patch: first Raster Vision's behaviour without it, then with it."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import numpy as np
import pytest
import rasterio
import torch
from sklearn.metrics import f1_score

from rvlab.store import patience
from rvlab.store.server import Server
from rvlab.worker import bucket_clients, rv_evaluation, rv_patches
from rvlab.worker.results import evaluation_tables
from tests.faults.proxy import Proxy

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Undo every patch afterwards, so that each test starts with an unpatched Raster Vision."""
    import albumentations
    from rastervision.aws_s3.s3_file_system import S3FileSystem
    from rastervision.core.data import ChipClassificationLabelSource
    from rastervision.core.evaluation import SemanticSegmentationEvaluator
    from rastervision.pipeline import rv_config_
    from rastervision.pytorch_backend import (
        pytorch_chip_classification,
        pytorch_object_detection,
        pytorch_semantic_segmentation,
    )
    from rastervision.pytorch_learner.learner import Learner

    for owner, names in (
        (albumentations.Compose, ["__init__"]),
        (S3FileSystem, ["get_client", "file_exists", "sync_from_dir", "sync_to_dir"]),
        (S3FileSystem, list(rv_patches.RETRIED_CALLS)),
        (ChipClassificationLabelSource, ["validate_labels"]),
        (SemanticSegmentationEvaluator, ["evaluate_scene"]),
        (Learner, ["export_to_onnx"]),
        (pytorch_chip_classification, ["uuid"]),
        (pytorch_object_detection, ["uuid"]),
        (pytorch_semantic_segmentation, ["uuid"]),
        (tempfile, ["tempdir"]),
    ):
        for name in names:
            monkeypatch.setattr(owner, name, owner.__dict__[name])
    monkeypatch.setenv("TMPDIR", str(tmp_path / "shared"))
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    monkeypatch.chdir(tmp_path)
    before = rv_config_.tmp_dir_root
    rv_config_.set_tmp_dir_root(str(tmp_path / "shared"))
    yield
    rv_config_.tmp_dir_root = before
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def aws(s3: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Set the standard AWS variables to the embedded server."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
    monkeypatch.setenv("AWS_DEFAULT_REGION", s3.region)
    return s3


def test_overwritten_file_is_downloaded_again(aws: Server, tmp_path: Path) -> None:
    from rastervision.pipeline.file_system import download_if_needed

    uri = f"s3://{aws.bucket}/mends/prediction.txt"
    put = boto3.client("s3").put_object
    put(Bucket=aws.bucket, Key="mends/prediction.txt", Body=b"old")
    assert Path(download_if_needed(uri)).read_text() == "old"
    put(Bucket=aws.bucket, Key="mends/prediction.txt", Body=b"new")
    assert Path(download_if_needed(uri)).read_text() == "old"  # the quirk

    rv_patches.patch_download_cache(tmp_path / "scratch")
    assert Path(download_if_needed(uri)).read_text() == "new"


def test_seed_decides_the_weights(tmp_path: Path) -> None:
    def weights() -> list[float]:
        return torch.nn.Linear(8, 1).weight.flatten().tolist()

    assert weights() != weights()  # the quirk: nothing in Raster Vision ever seeds
    rv_patches.seed_generators(7)
    first = weights()
    rv_patches.seed_generators(7)
    assert weights() == first
    rv_patches.seed_generators(8)
    assert weights() != first


def test_seed_decides_the_augmentation() -> None:
    import albumentations

    def flips() -> list[int]:
        transform = albumentations.Compose([albumentations.HorizontalFlip(p=0.5)])
        image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
        return [int(transform(image=image)["image"][0, 0, 0]) for _ in range(64)]

    np.random.seed(0)
    first = flips()
    np.random.seed(0)
    assert flips() != first  # the quirk: albumentations 2 ignores the global seed

    rv_patches.patch_augmentor_seeds(3)
    first = flips()
    assert len(set(first)) == 2
    assert flips() == first
    rv_patches.patch_augmentor_seeds(4)
    assert flips() != first


class _Learner(SimpleNamespace):
    """The part of a learner that its export needs."""

    def to_device(self, x: torch.Tensor, _device: Any) -> torch.Tensor:
        return x


def test_export_without_onnxscript_uses_the_older_exporter(tmp_path: Path) -> None:
    from rastervision.pytorch_learner.learner import Learner

    model, x = torch.nn.Conv2d(3, 2, 3), torch.zeros(1, 3, 8, 8)
    path = tmp_path / "model.onnx"
    with pytest.raises(ModuleNotFoundError, match="onnxscript"):  # the quirk
        Learner.export_to_onnx(_Learner(), str(path), model=model, sample_input=x)

    rv_patches.patch_export_failure()
    Learner.export_to_onnx(_Learner(), str(path), model=model, sample_input=x)
    assert path.stat().st_size > 0


class _Fussy(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("this model cannot be traced")


def test_failed_export_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from rastervision.pytorch_learner.learner import Learner

    rv_patches.patch_export_failure()
    path = tmp_path / "model.onnx"
    Learner.export_to_onnx(
        _Learner(), str(path), model=_Fussy(), sample_input=torch.zeros(1, 3, 8, 8)
    )
    assert not path.exists()
    assert "cannot be exported to ONNX" in caplog.text
    assert "this model cannot be traced" in caplog.text


def test_repeated_chip_step_overwrites_the_chips(tmp_path: Path) -> None:
    from rastervision.pytorch_backend.pytorch_semantic_segmentation import (
        PyTorchSemanticSegmentation,
    )

    pipeline = SimpleNamespace(chip_uri="chips", dataset=SimpleNamespace(class_config=None))
    backend = PyTorchSemanticSegmentation(pipeline, None, str(tmp_path))

    def uri() -> str:
        return str(backend.get_sample_writer().output_uri)

    assert uri() != uri()  # the quirk: a random name each time
    rv_patches.patch_chip_names(1, 3)
    assert uri() == uri() == "chips/1-of-3.zip"


@pytest.fixture
def aws_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put an ``aws`` executable on PATH that fails like the real one with a wrong secret."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "aws").write_text(
        "#!/bin/sh\necho 'fatal error: SignatureDoesNotMatch' >&2\nexit 1\n"
    )
    (folder / "aws").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def test_denied_upload_raises(
    aws: Server, aws_that_fails: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from boto3.exceptions import S3UploadFailedError
    from botocore.exceptions import ClientError
    from rastervision.pipeline.file_system import file_exists, sync_to_dir

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "log.csv").write_text("epoch\n0\n")
    uri = f"s3://{aws.bucket}/mends/refused"
    sync_to_dir(str(tmp_path / "train"), uri)  # the quirk: nothing was uploaded, without an error
    assert file_exists(f"{uri}/log.csv") is False  # the quirk: denied is reported as missing

    rv_patches.patch_s3_errors()
    with pytest.raises(S3UploadFailedError, match="SignatureDoesNotMatch"):
        sync_to_dir(str(tmp_path / "train"), uri)
    with pytest.raises(ClientError, match=r"403|SignatureDoesNotMatch"):
        file_exists(f"{uri}/log.csv")


@pytest.mark.parametrize("fault", ["reset_after", "503", "cut"])
def test_each_call_to_s3_waits_for_a_server_that_does_not_answer(
    aws: Server, tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rastervision.aws_s3.s3_file_system import S3FileSystem
    from rastervision.pipeline.file_system import NotReadableError

    monkeypatch.setattr(bucket_clients, "BOTO_ATTEMPTS", 1)
    monkeypatch.setattr(patience, "LONGEST_PAUSE_S", 0.3)
    monkeypatch.setenv("RVLAB_PATIENCE_S", "300")
    source, copy, down = tmp_path / "source", tmp_path / "copy", tmp_path / "down"
    source.mkdir()
    (source / "a.bin").write_bytes(bytes(range(256)) * 1000)
    uri = f"s3://{aws.bucket}/mends/faults-{fault}"
    with Proxy(aws.endpoint).running() as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        rv_patches.patch_s3_errors()

        def through(call: Any, *args: Any) -> Any:
            before = proxy.seen[fault]
            proxy.script(fault, fault)
            found = call(*args)
            # An answer that is cut off in its headers is enough for boto3 to see that it is a 200.
            assert proxy.seen[fault] >= before + (1 if fault == "cut" else 2), call
            proxy.script()
            return found

        through(S3FileSystem.write_bytes, f"{uri}/text", b"0123456789" * 100)
        assert through(S3FileSystem.read_bytes, f"{uri}/text") == b"0123456789" * 100
        assert through(S3FileSystem.read_str, f"{uri}/text") == "0123456789" * 100
        through(S3FileSystem.copy_to, str(source / "a.bin"), f"{uri}/folder/a.bin")
        through(S3FileSystem.copy_from, f"{uri}/folder/a.bin", str(copy))
        assert copy.read_bytes() == (source / "a.bin").read_bytes()
        assert through(S3FileSystem.file_exists, f"{uri}/text", False) is True
        assert through(S3FileSystem.file_exists, f"{uri}/none", False) is False
        assert through(S3FileSystem.list_paths, uri) == [f"{uri}/folder/", f"{uri}/text"]
        assert through(S3FileSystem.last_modified, f"{uri}/text")
        through(S3FileSystem.sync_to_dir, str(source), f"{uri}/synced")
        through(S3FileSystem.sync_from_dir, f"{uri}/synced", str(down))
        assert (down / "a.bin").read_bytes() == (source / "a.bin").read_bytes()
        passed = proxy.seen["passed"]
        with pytest.raises(NotReadableError):
            S3FileSystem.read_bytes(f"{uri}/none")
        assert proxy.seen["passed"] == passed + 1


def test_folders_go_to_s3_and_back(aws: Server, tmp_path: Path) -> None:
    from rastervision.pipeline.file_system import file_exists, sync_from_dir, sync_to_dir

    rv_patches.patch_s3_errors()
    source, copy = tmp_path / "source", tmp_path / "copy"
    (source / "deep").mkdir(parents=True)
    (source / "a.txt").write_text("one")
    (source / "deep" / "b.txt").write_text("two")
    uri = f"s3://{aws.bucket}/mends/folder"
    sync_to_dir(str(source), uri)
    sync_from_dir(uri, str(copy))
    assert {p.name: p.read_text() for p in copy.rglob("*.txt")} == {"a.txt": "one", "b.txt": "two"}

    (source / "a.txt").write_text("eins")
    (source / "deep" / "b.txt").unlink()
    sync_to_dir(str(source), uri, delete=True)
    sync_from_dir(uri, str(copy), delete=True)
    assert {p.name: p.read_text() for p in copy.rglob("*.txt")} == {"a.txt": "eins"}
    assert file_exists(f"{uri}/a.txt")
    assert file_exists(uri)
    assert not file_exists(f"{uri}/b.txt")


def test_all_calls_share_one_client(aws: Server) -> None:
    from rastervision.aws_s3.s3_file_system import S3FileSystem

    assert S3FileSystem.get_client() is not S3FileSystem.get_client()  # the quirk: 0.3 s each
    rv_patches.patch_s3_errors()
    assert S3FileSystem.get_client() is S3FileSystem.get_client()
    assert rv_patches._S3.client(aws.bucket) is rv_patches._S3.client("another-bucket")


SIZE, INSIDE = 60, 20


def _scene(folder: Path, classes: Any) -> tuple[Any, np.ndarray, np.ndarray]:
    """Return a scene of 60 by 60 pixels whose area of interest is its first 20 columns."""
    from rastervision.core.data import (
        RasterioSourceConfig,
        SceneConfig,
        SemanticSegmentationLabelSourceConfig,
        SemanticSegmentationLabelStoreConfig,
    )

    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (SIZE, SIZE), dtype=np.uint8)
    wrong = rng.random((SIZE, SIZE)) < 0.3
    prediction = np.where(wrong, 1 - truth, truth).astype(np.uint8)
    place = rasterio.transform.from_origin(10.0, 50.0, 1e-4, 1e-4)
    profile = {
        "driver": "GTiff", "count": 1, "height": SIZE, "width": SIZE, "dtype": "uint8",
        "crs": "EPSG:4326", "transform": place,
    }  # fmt: skip
    (folder / "predict").mkdir()
    for name, array in (("truth.tif", truth), ("predict/labels.tif", prediction)):
        with rasterio.open(folder / name, "w", **profile) as file:
            file.write(array, 1)
    west, north, east, south = 10.0, 50.0, 10.0 + INSIDE * 1e-4, 50.0 - SIZE * 1e-4
    ring = [[west, north], [east, north], [east, south], [west, south], [west, north]]
    area = {"type": "Polygon", "coordinates": [ring]}
    feature = {"type": "Feature", "properties": {}, "geometry": area}
    (folder / "aoi.json").write_text(
        json.dumps({"type": "FeatureCollection", "features": [feature]})
    )
    source = RasterioSourceConfig(uris=[str(folder / "truth.tif")])
    config = SceneConfig(
        id="one",
        raster_source=source,
        label_source=SemanticSegmentationLabelSourceConfig(raster_source=source),
        label_store=SemanticSegmentationLabelStoreConfig(uri=str(folder / "predict")),
        aoi_uris=[str(folder / "aoi.json")],
    )
    return config.build(classes, str(folder)), truth, prediction


def test_pixels_outside_the_area_of_interest_are_in_no_metric(tmp_path: Path) -> None:
    from rastervision.core.data import ClassConfig
    from rastervision.core.evaluation import SemanticSegmentationEvaluator

    classes = ClassConfig(names=["building", "background"], null_class="background")
    scene, truth, prediction = _scene(tmp_path, classes)
    inside = (truth[:, :INSIDE].ravel(), prediction[:, :INSIDE].ravel())
    right = f1_score(*inside, average=None)

    def score() -> dict[str, float]:
        evaluator = SemanticSegmentationEvaluator(classes, str(tmp_path / "eval.json"))
        evaluator.process([scene], str(tmp_path))
        found = {"validation_scenes": json.loads((tmp_path / "eval.json").read_text())}
        rows = evaluation_tables(found, {"names": classes.names, "null_class": "background"})[0]
        return {
            row["class"]: row["value"]
            for row in rows.to_pylist()
            if row["metric"] == "f1" and row["scene"] is None and row["class"]
        }

    flattered = score()
    assert flattered["building"] == pytest.approx(right[0])
    assert flattered["background"] > right[1] + 0.1  # the quirk

    rv_evaluation.patch_segmentation_evaluation()
    assert score() == pytest.approx({"building": right[0], "background": right[1]})


def cells_of(polygons: list[list[list[float]]], path: Path) -> dict[tuple[int, int], int]:
    """Return the class ids that Raster Vision gives the four cells of a scene of 128 pixels."""
    from rastervision.core.box import Box
    from rastervision.core.data import (
        ChipClassificationLabelSourceConfig,
        ClassConfig,
        GeoJSONVectorSourceConfig,
        IdentityCRSTransformer,
    )

    features = [
        {
            "type": "Feature",
            "properties": {"class_name": "building"},
            "geometry": {"type": "Polygon", "coordinates": [polygon]},
        }
        for polygon in polygons
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    source = ChipClassificationLabelSourceConfig(
        vector_source=GeoJSONVectorSourceConfig(uris=[str(path)]),
        infer_cells=True,
        cell_sz=64,
        background_class_id=1,
    ).build(
        ClassConfig(names=["building", "no_building"]),
        IdentityCRSTransformer(),
        bbox=Box(0, 0, 128, 128),
    )
    labels = source.get_labels()
    return {(c.ymin, c.xmin): int(labels.get_cell_class_id(c)) for c in labels.get_cells()}


def test_scene_without_polygons_is_accepted(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="All label polygons must have a class_id"):
        cells_of([], tmp_path / "quirk.json")
    rv_patches.patch_empty_validation()
    nothing = {(0, 0): 1, (0, 64): 1, (64, 0): 1, (64, 64): 1}
    assert cells_of([], tmp_path / "none.json") == nothing
    house = [[70.0, 10.0], [100.0, 10.0], [100.0, 40.0], [70.0, 40.0], [70.0, 10.0]]
    assert cells_of([house], tmp_path / "one.json") == nothing | {(0, 64): 0}
