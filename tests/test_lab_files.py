"""Opening and downloading the files of runs, on S3 and in a folder."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
import torch

from rvlab import Lab
from rvlab.errors import NotFound, SpecError
from rvlab.model import Run
from rvlab.store import S3Access, Store
from rvlab.store.server import Server
from tests.frame.samples import Made


@pytest.fixture(params=["s3", "folder"])
def made(
    request: pytest.FixtureRequest, s3: Server, s3_access: S3Access, tmp_path: Path
) -> tuple[Lab, Run]:
    """A run with a raster, weights and a training log."""
    uri = f"s3://{s3.bucket}/files/{tmp_path.name}" if request.param == "s3" else tmp_path / "store"
    store = Store(uri, s3_access if request.param == "s3" else None)
    samples = Made(store)
    run = samples.ended({"lr": 0.1}, {"f1": 0.5})
    profile = {"driver": "GTiff", "width": 4, "height": 3, "count": 1, "dtype": "uint8"}
    profile["transform"] = rasterio.Affine(0.5, 0, 100, 0, -0.5, 200)
    with rasterio.MemoryFile() as memory:
        with memory.open(**profile) as raster:
            raster.write(np.full((1, 3, 4), 7, np.uint8))
        labels = memory.read()
    weights = io.BytesIO()
    torch.save({"bias": torch.ones(2)}, weights)
    files = {
        "rv/predict/val-0/labels.tif": labels,
        "rv/train/last-model.pth": weights.getvalue(),
        "rv/train/log.csv": b"epoch,train_loss\n0,0.5\n",
    }
    kinds = ("labels", "weights", "history")
    rows = []
    for kind, (key, data) in zip(kinds, files.items(), strict=True):
        store.put(run.key(key), data)
        step = key.split("/")[1]
        rows.append({"step": step, "kind": kind, "scene": None, "key": key, "bytes": len(data)})
    samples.table(run, "artifacts", rows)
    return Lab(store), run


def uri_of(lab: Lab, kind: str) -> str:
    table = lab.artifacts()
    return str(table.loc[table["kind"] == kind, "uri"].iloc[0])


def test_rasterio_torch_and_pandas_read_opened_files(made: tuple[Lab, Run]) -> None:
    lab, _ = made
    with lab.open(uri_of(lab, "labels")) as file, rasterio.open(file) as raster:
        assert raster.read(1).tolist() == [[7] * 4] * 3
    with lab.open(uri_of(lab, "weights")) as file:
        assert torch.load(file)["bias"].tolist() == [1, 1]
    with lab.open(uri_of(lab, "history")) as file:
        assert pd.read_csv(file)["train_loss"].tolist() == [0.5]


def test_download_writes_the_files_of_a_kind_once(made: tuple[Lab, Run], tmp_path: Path) -> None:
    lab, run = made
    table = lab.download(run, kind=["weights", "labels"], to=tmp_path / "out")
    assert table["kind"].tolist() == ["labels", "weights"]
    paths = [Path(path) for path in table["path"]]
    assert paths[0] == (tmp_path / "out" / run.id / "predict/val-0/labels.tif").resolve()
    assert [path.stat().st_size for path in paths] == table["bytes"].tolist()
    before = [path.stat().st_mtime_ns for path in paths]
    lab.download(run, kind=["weights", "labels"], to=tmp_path / "out")
    assert [path.stat().st_mtime_ns for path in paths] == before
    assert len(lab.download(run, to=tmp_path / "all")) == 3


def test_unknown_kinds_and_files_are_refused(made: tuple[Lab, Run], tmp_path: Path) -> None:
    lab, run = made
    with pytest.raises(NotFound, match=r"no files of the kind 'label'. Did you mean 'labels'\?"):
        lab.download(run, kind="label", to=tmp_path / "out")
    with pytest.raises(NotFound, match="is not in the store"):
        lab.open(f"{run.uri}/rv/nothing.tif")
    with pytest.raises(SpecError, match="is not opened"):
        lab.open("https://example.org/secret.tif")
    assert not (tmp_path / "out").exists()


def test_folder_that_cannot_be_written_is_one_sentence(
    made: tuple[Lab, Run], tmp_path: Path
) -> None:
    lab, run = made
    (tmp_path / "file").write_text("text")
    for to in ("/proc/x", tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(SpecError, match=r"cannot be written: .*\. Name another folder\."):
            lab.download(run, to=to)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / run.id).write_text("text")
    with pytest.raises(SpecError, match="cannot be written: "):
        lab.download(run, to=tmp_path / "taken")


def test_path_in_a_record_cannot_leave_the_folder(made: tuple[Lab, Run], tmp_path: Path) -> None:
    lab, _ = made
    samples = Made(lab.store)
    other = samples.ended({"lr": 0.2}, {"f1": 0.5})
    lab.store.put(other.key("rv/x"), b"attack")
    key = "rv/../../../../attack"
    row = {"step": "train", "kind": "other", "scene": None, "key": key, "bytes": 6}
    samples.table(other, "artifacts", [row])
    folder = tmp_path / "a" / "b" / "out"
    with pytest.raises((SpecError, NotFound)):
        lab.download(other, to=folder)
    assert not list(tmp_path.rglob("attack"))
