"""The part of a lab that takes runs from elsewhere and gives them to others."""

from __future__ import annotations

from rvlab.lab._places import Places


class Exchange(Places):
    """Takes in and hands out runs; see `rvlab.Lab`."""
