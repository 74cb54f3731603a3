"""Tests of the user's folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from rvlab.store.addresses import path_exists
from rvlab.store.local_folders import user_cache_dir, user_data_dir


def test_a_tilde_in_the_variables_is_the_home_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RVLAB_HOME", "~/data")
    monkeypatch.setenv("RVLAB_CACHE", "~/cache")
    assert (user_data_dir(), user_cache_dir()) == (tmp_path / "data", tmp_path / "cache")


def test_text_that_cannot_be_a_path_does_not_exist(tmp_path: Path) -> None:
    assert path_exists(tmp_path)
    assert not path_exists(f"/{'a' * 300}/b")
    assert not path_exists("a\0b")
