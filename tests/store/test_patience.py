"""For how many seconds a store is retried, and the settings for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rvlab import Lab
from rvlab.errors import SpecError
from rvlab.store import S3Access, Store, register_store, store_for_uri
from rvlab.store.patience import patience_s
from tests.conftest import TINY


def test_a_step_waits_ten_minutes_unless_the_variable_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RVLAB_PATIENCE_S", raising=False)
    assert patience_s() == 600
    assert patience_s({"RVLAB_PATIENCE_S": ""}) == 600
    assert patience_s({"RVLAB_PATIENCE_S": "0"}) == 0
    monkeypatch.setenv("RVLAB_PATIENCE_S", "90.5")
    assert patience_s() == 90.5
    store = Store("memory://patience")
    assert store.patience_s == 2
    assert store.with_patience().patience_s == 90.5
    assert store.with_patience(5).patience_s == 5


@pytest.mark.parametrize("text", ["ten minutes", "-1", "inf", "nan"])
def test_an_invalid_setting_is_refused_before_a_run_is_submitted(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RVLAB_PATIENCE_S", text)
    lab = Lab(tmp_path / "store")
    with pytest.raises(SpecError, match=rf"\$RVLAB_PATIENCE_S is '{text}', but it must be a"):
        lab.submit(TINY)
    assert lab.store.files() == []


def test_a_patient_store_shares_its_connections() -> None:
    store = Store("memory://patience")
    assert store.with_patience()._storage is store._storage


def test_a_uri_beside_a_patient_store_has_the_same_patience(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rvlab.store.addresses._registered", {})
    access = S3Access("http://127.0.0.1:9", "key", "secret")
    register_store(Store("s3://bucket/runs", access, patience_s=77))
    assert store_for_uri("s3://bucket/runs/_data/scene.tif").patience_s == 77
    assert store_for_uri("s3://bucket/other/scene.tif").patience_s == 77
    assert store_for_uri("s3://elsewhere/scene.tif").patience_s == 2
