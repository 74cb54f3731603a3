"""A store in a folder, and what makes runs in it."""

from __future__ import annotations

from tests.frame.conftest import made, store

__all__ = ["made", "store"]
