"""Load the model of a run from its bundle: a torch module, or Raster Vision's predictor."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rvlab.actions.bundle_code import INNER_BUNDLE, require_safe_bundle
from rvlab.actions.files import CHUNK_BYTES, open_file
from rvlab.actions.model_version import ModelSelector, ModelVersion, require_run_or_version
from rvlab.engines.extras import require_extra
from rvlab.errors import NotFound, SpecError, StoreError, did_you_mean
from rvlab.frame.runs import runs_table
from rvlab.frame.tables import artifacts_table
from rvlab.model import Run
from rvlab.model.limits import BUNDLE_BYTES, too_large
from rvlab.model.promotion import VersionRecord
from rvlab.store import Store

if TYPE_CHECKING:
    import pandas as pd

MODEL_KINDS = ("module", "predictor")


def load_model(store: Store, selector: ModelSelector, kind: str, *, trust_code: bool) -> Any:
    """Load the model of a run or a promoted model; see `rvlab.Lab.model`.

    Args:
        store: The store.
        selector: The run or the model.
        kind: One of `MODEL_KINDS`.
        trust_code: Whether Python code in the bundle may be executed.
    """
    if kind not in MODEL_KINDS:
        raise SpecError(f"lab.model cannot return a {kind!r}. {did_you_mean(kind, MODEL_KINDS)}")
    require_extra("train", "lab.model")
    source = find_model_bundle(store, selector, "model")
    folder = tempfile.TemporaryDirectory(prefix="rvlab-model-")
    try:
        bundle = Path(folder.name, "bundle.zip")
        source.download(store, bundle)
        require_safe_bundle(bundle, Path(folder.name), source.run.id, trust_code=trust_code)
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


@dataclass(frozen=True)
class ModelBundle:
    """The bundle of a run, or of a version of a promoted model.

    Args:
        uri: Its address.
        name: The name of the run, or the version of the model as ``vegas-buildings:2``.
        run: The run that trained the model; that of a promoted model may have been deleted.
        sha256: The SHA-256 that the bundle of a promoted model must have; None for a run.
    """

    uri: str
    name: str
    run: Run
    sha256: str | None = None

    @property
    def model(self) -> str | None:
        """The version of the model; None for a run."""
        return None if self.sha256 is None else self.name

    def download(self, store: Store, path: Path) -> str:
        """Copy the bundle to a local file, and return its SHA-256 in hexadecimal.

        Raises:
            StoreError: If it is not the bundle that was promoted.
        """
        found = download_bundle(store, self.uri, path)
        if self.sha256 not in (None, found):
            raise StoreError(
                f"The bundle of the model {self.name} was changed since it was promoted: its "
                f"SHA-256 is {found}, and {self.sha256} was recorded."
            )
        return found


def find_model_bundle(store: Store, selector: ModelSelector, verb: str) -> ModelBundle:
    """Return the bundle of a run, or of a version of a promoted model.

    Args:
        store: The store.
        selector: The run or the model.
        verb: The name of the method, for messages.

    Raises:
        NotFound: If the run or model does not exist, or the run has no bundle.
        SpecError: If it selects several runs, or is ambiguous.
    """
    found = require_run_or_version(store, selector, verb)
    if isinstance(found, VersionRecord):
        version = ModelVersion(store, found)
        return ModelBundle(version.bundle_uri, str(version), version.run, found.bundle_sha256)
    row, files = runs_table(store, [found]).iloc[0], artifacts_table(store, [found])
    return ModelBundle(find_bundle(row, files), str(row["name"]), found)


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
