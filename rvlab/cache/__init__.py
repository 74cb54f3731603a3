"""The read cache: table rows that are valid while their source keys have the same ETag.

The records of an ended run do not change, so its rows are cached as blocks, on this machine and in
the store. `Query` is the entry point: it lists runs and reads the rows that are not cached.
"""

from rvlab.cache.block import RowBlock
from rvlab.cache.query import Query
from rvlab.cache.row_cache import CachedTable, evict

__all__ = ["CachedTable", "Query", "RowBlock", "evict"]
