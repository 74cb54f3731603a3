"""Fixtures: see `tests.frame.fixtures`."""

from tests.frame.fixtures import made, read, store

__all__ = ["made", "read", "store"]
