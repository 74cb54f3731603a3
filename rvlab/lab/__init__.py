"""The notebook's one object: it remembers addresses and holds no data."""

from rvlab.lab._lab import Lab
from rvlab.lab._places import EMBEDDED, store_text

__all__ = ["EMBEDDED", "Lab", "store_text"]
