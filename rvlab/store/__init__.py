"""Records on object storage: keys and bytes, where a run's records lie, the embedded S3 server."""

from rvlab.store.access import S3Access
from rvlab.store.store import Store, at, normal, parsed, remember

__all__ = ["S3Access", "Store", "at", "normal", "parsed", "remember"]
