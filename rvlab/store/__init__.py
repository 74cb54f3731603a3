"""Records on object storage: keys and bytes, where a run's records lie, the embedded S3 server."""

from rvlab.store.access import S3Access
from rvlab.store.store import Store, normalize_uri, parse_record, register_store, store_for_uri

__all__ = ["S3Access", "Store", "normalize_uri", "parse_record", "register_store", "store_for_uri"]
