"""The part of a lab that writes what people add to runs, and deletes runs."""

from __future__ import annotations

from rvlab.lab._places import Places


class Edits(Places):
    """Tags, notes, archives and deletes runs; see `rvlab.Lab`."""
