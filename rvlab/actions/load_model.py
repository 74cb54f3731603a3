"""Load the model of a run from its bundle: a torch module, or Raster Vision's predictor."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import weakref
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rvlab.recipes
from rvlab.actions.files import open_file
from rvlab.engines.extras import require_extra
from rvlab.errors import NotFound, SpecError, StoreError, did_you_mean
from rvlab.store import Store

if TYPE_CHECKING:
    import pandas as pd

MODEL_KINDS = ("module", "predictor")
INNER_BUNDLE = "model-bundle.zip"
WEIGHTS = "model.pth"

_DATA_ENDINGS = (".json", ".zip", ".pth", ".onnx", ".csv", ".png", ".tif", ".txt", ".xml")
_OWN_MODELS = ("unet", "convnet", "detector")


def load_model(
    store: Store, row: pd.Series[Any], artifacts: pd.DataFrame, kind: str, *, trust_code: bool
) -> Any:
    """Load the model of a run; see `rvlab.Lab.model`.

    Args:
        store: The store of the run.
        row: Its row in the table of runs, with the id as name.
        artifacts: Its files.
        kind: One of `MODEL_KINDS`.
        trust_code: Whether Python code in the bundle may be executed.
    """
    if kind not in MODEL_KINDS:
        raise SpecError(f"lab.model cannot return a {kind!r}. {did_you_mean(kind, MODEL_KINDS)}")
    require_extra("train", "lab.model")
    uri = _find_bundle(row, artifacts)
    folder = tempfile.TemporaryDirectory(prefix="rvlab-model-")
    try:
        bundle = Path(folder.name, "bundle.zip")
        with open_file(store, uri) as source, bundle.open("wb") as target:
            shutil.copyfileobj(source, target)
        _require_safe(bundle, Path(folder.name), str(row.name), trust_code=trust_code)
        loaded = _load(bundle, Path(folder.name), kind)
    except BaseException:
        folder.cleanup()
        raise
    if kind == "module":
        folder.cleanup()
    else:  # it reads its files at the first prediction
        folder._finalizer.detach()  # type: ignore[attr-defined]
        weakref.finalize(loaded, shutil.rmtree, folder.name, ignore_errors=True)
    return loaded


def _find_bundle(row: pd.Series[Any], artifacts: pd.DataFrame) -> str:
    """Return the URI of a run's bundle.

    Raises:
        NotFound: If it has none; the message says why.
    """
    mine = artifacts[artifacts["run"] == row.name]
    found = mine[(mine["kind"] == "bundle") & (mine["step"] == "bundle")]
    if len(found):
        return str(found["uri"].iloc[0])
    state = row["state"]
    reason = "its files contain no bundle/model-bundle.zip"
    if state in ("queued", "running"):
        reason = f"it is {state}, and the bundle is its last output"
    elif state != "succeeded":
        where = f" in {row['step']}" if isinstance(row["step"], str) else ""
        reason = f"it has the state {state!r}{where}"
    raise NotFound(f"The run {row.name} has no model: {reason}.")


def _require_safe(bundle: Path, folder: Path, run: str, *, trust_code: bool) -> None:
    """Refuse a bundle that would execute code when its model is loaded.

    Weights are read as tensors only. The module definitions of rvlab's own recipes are the same
    code as in this package.

    Raises:
        SpecError: If the bundle contains other code, and it is not trusted.
        StoreError: If it is not a bundle of Raster Vision, or its weights are not tensors alone.
    """
    import pickle

    import torch

    try:
        with zipfile.ZipFile(bundle) as outer:
            inner = Path(outer.extract(INNER_BUNDLE, folder / "inner"))
            code = list(_code_in(outer))
        with zipfile.ZipFile(inner) as model:
            code += _code_in(model)
            weights = Path(model.extract(WEIGHTS, folder / "inner"))
    except (zipfile.BadZipFile, KeyError) as exc:
        raise StoreError(
            f"The bundle of the run {run} is not one of Raster Vision: {exc}."
        ) from exc
    if code and not trust_code:
        raise SpecError(
            f"The bundle of the run {run} contains {code[0]}, which loading the model executes. "
            "Pass trust_code=True if you trust everyone who can write to the store."
        )
    try:
        torch.load(weights, map_location="meta", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as exc:
        raise StoreError(
            f"The weights of the run {run} cannot be read as tensors alone: "
            f"{str(exc).splitlines()[0]}"
        ) from exc


def _code_in(archive: zipfile.ZipFile) -> Iterator[str]:
    """Yield the files that could be executed, except the models of rvlab's own recipes."""
    own = set(map(_own_digest, _OWN_MODELS))
    for name in archive.namelist():
        is_module = "/modules/" in f"/{name}"
        if name.endswith("/") or (name.endswith(_DATA_ENDINGS) and not is_module):
            continue
        is_own = name.endswith("/hubconf.py") and _digest(archive.read(name)) in own
        if not is_own:
            yield name


def _own_digest(name: str) -> str:
    return _digest(Path(rvlab.recipes.__file__).with_name(f"{name}.py").read_bytes())


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _load(bundle: Path, folder: Path, kind: str) -> Any:
    inner = folder / "inner" / INNER_BUNDLE
    if kind == "predictor":
        from rastervision.core.predictor import Predictor

        return Predictor(str(bundle), str(folder))
    from rastervision.pytorch_learner.learner import Learner

    return Learner.from_model_bundle(str(inner), str(folder)).model.to("cpu").eval()
