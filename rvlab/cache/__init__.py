"""The read cache: rows that were read before, valid while their source has the same ETag.

A run that has ended does not change, so the rows made from its records are cached as blocks, on
this machine and in the store. `Query` is the entry point: it lists runs and reads what is missing.
"""

from rvlab.cache.block import RowBlock
from rvlab.cache.query import Query
from rvlab.cache.row_cache import CachedTable, evict

__all__ = ["CachedTable", "Query", "RowBlock", "evict"]
