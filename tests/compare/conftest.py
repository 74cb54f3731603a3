"""Fixtures: a store in a local folder and a factory of its runs."""

from __future__ import annotations

from tests.frame.conftest import made, store

__all__ = ["made", "store"]
