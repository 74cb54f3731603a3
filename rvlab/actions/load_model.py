"""Load the model of a run from its bundle: a torch module, or Raster Vision's predictor."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rvlab.actions.bundle_code import INNER_BUNDLE, require_safe_bundle
from rvlab.actions.files import CHUNK_BYTES, open_file
from rvlab.engines.extras import require_extra
from rvlab.errors import NotFound, SpecError, did_you_mean
from rvlab.model.limits import BUNDLE_BYTES, too_large
from rvlab.store import Store

if TYPE_CHECKING:
    import pandas as pd

MODEL_KINDS = ("module", "predictor")


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
    uri = find_bundle(row, artifacts)
    folder = tempfile.TemporaryDirectory(prefix="rvlab-model-")
    try:
        bundle = Path(folder.name, "bundle.zip")
        download_bundle(store, uri, bundle)
        require_safe_bundle(bundle, Path(folder.name), str(row.name), trust_code=trust_code)
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


def download_bundle(store: Store, uri: str, path: Path) -> str:
    """Copy a bundle to a local file, and return its SHA-256 in hexadecimal."""
    digest, copied = hashlib.sha256(), 0
    with open_file(store, uri) as source, path.open("wb") as target:
        while block := source.read(CHUNK_BYTES):
            digest.update(block)
            copied += target.write(block)
            if copied > BUNDLE_BYTES:
                too_large(uri, copied, BUNDLE_BYTES)
    return digest.hexdigest()


def find_bundle(row: pd.Series[Any], artifacts: pd.DataFrame) -> str:
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


def _load(bundle: Path, folder: Path, kind: str) -> Any:
    inner = folder / "inner" / INNER_BUNDLE
    if kind == "predictor":
        from rastervision.core.predictor import Predictor

        return Predictor(str(bundle), str(folder))
    from rastervision.pytorch_learner.learner import Learner

    return Learner.from_model_bundle(
        str(inner), str(folder), training=False, use_onnx_model=False
    ).model.to("cpu")
