"""The trained model of a run, from its bundle in the store."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import rasterio
import torch

import rvlab.recipes
from rvlab import Lab
from rvlab.errors import NotFound, SpecError, StoreError
from rvlab.model import Run
from rvlab.store import Store
from tests.conftest import Trained
from tests.frame.samples import Made


def zip_of(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def put_bundle(lab: Lab, run: Run, data: bytes) -> None:
    key = run.key("rv/bundle/model-bundle.zip")
    lab.store.put(key, data)
    row = {"step": "bundle", "kind": "bundle", "scene": None, "key": "rv/bundle/model-bundle.zip"}
    Made(lab.store).table(run, "artifacts", [{**row, "bytes": len(data)}])


def read_chip(lab: Lab, run: Run, scene: str) -> tuple[Any, Any]:
    """Return the first chip of a scene, and the run's own prediction of it."""
    window = rasterio.windows.Window(0, 0, 64, 64)
    files = lab.artifacts(run)
    labels = files[(files["kind"] == "labels") & (files["scene"] == scene)]["uri"].item()
    with lab.open(labels) as file, rasterio.open(file) as raster:
        predicted = raster.read(1, window=window)
    data = next(key for key, _ in lab.store.files("_data") if key.endswith(f"{scene}.tif"))
    with lab.open(f"{lab.store.uri}/{data}") as file, rasterio.open(file) as raster:
        return raster.read(window=window), predicted


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:'pin_memory' argument")  # a GPU is missing
def test_module_and_predictor_predict_what_the_run_predicted(
    trained: Trained, tmp_path: Path
) -> None:
    lab, run = trained.lab, trained.runs["first"]
    image, predicted = read_chip(lab, run, "validation-0")
    model = lab.model(run)
    assert isinstance(model, torch.nn.Module)
    assert not model.training
    with torch.no_grad():
        scores = model(torch.from_numpy(image / 255).float()[None])
    assert np.array_equal(scores.argmax(dim=1)[0].numpy(), predicted)

    file = tmp_path / "chip.tif"
    profile = {"driver": "GTiff", "width": 64, "height": 64, "count": 3, "dtype": "uint8"}
    profile |= {"crs": "EPSG:32632", "transform": rasterio.Affine(0.3, 0, 6e5, 0, -0.3, 5.4e6)}
    with rasterio.open(file, "w", **profile) as raster:
        raster.write(image)
    lab.model(run, kind="predictor").predict([str(file)], str(tmp_path / "out"))
    with rasterio.open(tmp_path / "out" / "labels.tif") as raster:
        assert np.array_equal(raster.read(1), predicted)

    with pytest.raises(NotFound, match=r"has no model: it has the state 'failed' in train\."):
        lab.model(trained.runs["train fails"])

    copy = Lab(tmp_path / "store")  # a folder
    other = Made(copy.store).ended({}, {"f1": 0.5})
    uri = lab.artifacts(run).query("kind == 'bundle' and step == 'bundle'")["uri"].item()
    with lab.open(uri) as source:
        put_bundle(copy, other, source.read())
    weights, same = model.state_dict(), copy.model(other).state_dict()
    assert all(torch.equal(weights[name], same[name]) for name in weights)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(Store(tmp_path / "store"))


def test_runs_without_a_bundle_say_why(lab: Lab) -> None:
    made = Made(lab.store)
    with pytest.raises(NotFound, match="it is queued, and the bundle is its last output"):
        lab.model(made.queued())
    with pytest.raises(NotFound, match=r"its files contain no bundle/model-bundle\.zip"):
        lab.model(made.ended({}))
    with pytest.raises(NotFound, match=r"it has the state 'cancelled'\."):
        lab.model(made.ended({}, state="cancelled"))
    with pytest.raises(SpecError, match=r"cannot return a 'modul'\. Did you mean 'module'?"):
        lab.model(made.ended({}), kind="modul")


class Hostile:
    """An object whose unpickling creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    ("inner", "error", "why"),
    [
        (
            {"model.pth": b"", "modules/mine/hubconf.py": b"1 / 0"},
            SpecError,
            "modules/mine/hubconf",
        ),
        ({"model.pth": b"", "modules/mine/torch.so": b""}, SpecError, "modules/mine/torch.so"),
        ({"model.pth": b"", "transforms.py": b"1 / 0"}, SpecError, "contains transforms.py, which"),
        ({"model.pth": b"no weights"}, StoreError, "cannot be read as tensors alone"),
        ({}, StoreError, "is not one of Raster Vision"),
    ],
)
def test_bundles_with_code_or_without_weights_are_refused(
    lab: Lab, inner: dict[str, bytes], error: type[Exception], why: str
) -> None:
    run = Made(lab.store).ended({})
    put_bundle(lab, run, zip_of({"model-bundle.zip": zip_of(inner), "pipeline-config.json": b"{}"}))
    with pytest.raises(error, match=why):
        lab.model(run)


Kind = Literal["module", "predictor"]
OWN = Path(rvlab.recipes.__file__).with_name("unet.py").read_bytes()
DEFINITION = {"type_hint": "external-module", "uri": "/data/unet.zip", "entrypoint": "unet"}


def refuse(lab: Lab, inner: bytes, config: object, why: str, *, trust_code: bool = False) -> None:
    """Require that both forms of the model are refused."""
    run = Made(lab.store).ended({})
    outer = {"model-bundle.zip": inner, "pipeline-config.json": json.dumps(config).encode()}
    put_bundle(lab, run, zip_of(outer))
    kinds: tuple[Kind, ...] = ("module", "predictor")
    for kind in kinds:
        with pytest.raises((SpecError, StoreError), match=why):
            lab.model(run, kind=kind, trust_code=trust_code)


def test_settings_that_execute_code_are_refused_in_both_configs(lab: Lab, tmp_path: Path) -> None:
    code = tmp_path / "evil.py"
    code.write_text(f"open({str(tmp_path / 'executed')!r}, 'w'); lambda_transforms = {{}}")
    transform = {"lambda_transforms_path": str(code), "transform": {}}
    data = {"type_hint": "semantic_segmentation_image_data"}
    evil = tmp_path / "folder"
    evil.mkdir()
    (evil / "hubconf.py").write_text(code.read_text())
    outside = [str(evil), "../../folder", "..", "other", ""]
    settings: list[tuple[dict[str, Any], str]] = [
        ({**data, "aug_transform": transform}, "contains lambda_transforms_path '.*evil.py' in "),
        ({**data, "base_transform": transform}, "contains lambda_transforms_path"),
        ({"plot_options": {"transform": transform}}, "contains lambda_transforms_path"),
        *(({"external_def": {**DEFINITION, "name": name}}, "external_def") for name in outside),
        ({"external_def": {**DEFINITION, "uri": str(evil)}}, "contains external_def with a def"),
        ({"external_def": {**DEFINITION, "entrypoint": "torch"}}, "contains external_def"),
        ({"external_def": {"github_repo": "a/b", "entrypoint": "unet"}}, "contains external_def"),
        ({"external_loss_def": {**DEFINITION, "uri": "x.zip"}}, "contains external_loss_def"),
        ({"other": {**DEFINITION, "uri": "x.zip"}}, "contains an external module"),
        (
            {"class_id_to_filter": {"0": ["==", "building", '" or print("x") or "']}},
            "contains an unusual class_id_to_filter in",
        ),
    ]
    files = {"model.pth": b"", "modules/unet/hubconf.py": OWN}
    for setting, why in settings:
        nested = {"a": [{"b": setting}]}
        with_setting = {**files, "learner-config.json": json.dumps(nested).encode()}
        refuse(lab, zip_of(with_setting), {}, why)
        refuse(lab, zip_of(files), nested, why)
    learner = {"data": settings[0][0], "type_hint": "semantic_segmentation_learner"}
    files["learner-config.json"] = json.dumps(learner).encode()
    refuse(lab, zip_of(files), {}, "contains lambda_transforms_path .* in learner-config.json")
    assert not (tmp_path / "executed").exists()


def test_settings_without_code_are_not_refused(lab: Lab) -> None:
    config = {
        "external_def": DEFINITION,
        "external_loss_def": None,
        "aug_transform": {"lambda_transforms_path": None},
        "class_id_to_filter": {"0": ["==", "building", "it's"], "1": ["in", "a.b", 1, "c"]},
    }
    files = {"model.pth": b"no weights", "modules/unet/hubconf.py": OWN}
    files["learner-config.json"] = json.dumps(config).encode()
    refuse(lab, zip_of(files), config, "cannot be read as tensors alone")  # the next check


def test_archives_with_ambiguous_names_or_configs_are_refused_even_if_trusted(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("../learner-config.json", "/etc/x.json", "a/./b.json", "a//b.json", "a\\b.json"):
        refuse(lab, zip_of({"model.pth": b"", name: b"{}"}), {}, "a file named", trust_code=True)
    twice = {"model.pth": b"", "Model.pth": b""}
    refuse(lab, zip_of(twice), {}, "two files named 'Model.pth'", trust_code=True)
    for text in (b"{", b"\xff\xfe{\0}\0", b"[" * 100_000):
        files = {"model.pth": b"", "learner-config.json": text}
        refuse(lab, zip_of(files), {}, "is not one of Raster Vision")
    monkeypatch.setattr("rvlab.actions.bundle_code.BUNDLE_BYTES", 1000)
    large = zip_of({"model.pth": bytes(1001)})
    refuse(lab, large, {}, "more than 1,000 are not read", trust_code=True)
    monkeypatch.setattr("rvlab.actions.bundle_code.BUNDLE_FILES", 1)
    refuse(lab, large, {}, "has 2 files; more than 1 are not read", trust_code=True)


def test_weights_that_execute_code_are_refused_even_if_the_code_is_trusted(
    lab: Lab, tmp_path: Path
) -> None:
    run = Made(lab.store).ended({})
    weights = io.BytesIO()
    torch.save({"bias": Hostile(tmp_path / "executed")}, weights)
    for data in (weights.getvalue(), pickle.dumps(Hostile(tmp_path / "executed"), protocol=2)):
        inner = zip_of({"model.pth": data, "modules/m/hubconf.py": b""})
        put_bundle(lab, run, zip_of({"model-bundle.zip": inner}))
        with pytest.raises(StoreError, match="cannot be read as tensors alone"):
            lab.model(run, trust_code=True)
    assert not (tmp_path / "executed").exists()


def test_a_file_that_is_not_an_archive_is_refused(lab: Lab) -> None:
    run = Made(lab.store).ended({})
    put_bundle(lab, run, b"no archive")
    with pytest.raises(StoreError, match=r"The bundle of the run .* is not one of Raster Vision"):
        lab.model(run)
