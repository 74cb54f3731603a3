"""Records on object storage: keys and bytes, the layout of a run's records, the S3 server."""

from rvlab.store.access import S3Access
from rvlab.store.addresses import register_store, store_for_uri
from rvlab.store.specs import read_spec
from rvlab.store.store import Store, normalize_uri, parse_record

__all__ = [
    "S3Access",
    "Store",
    "normalize_uri",
    "parse_record",
    "read_spec",
    "register_store",
    "store_for_uri",
]
