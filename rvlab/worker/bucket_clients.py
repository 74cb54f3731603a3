"""boto3 clients for the buckets that Raster Vision reads and writes in a step."""

from __future__ import annotations

import sys
from functools import partial
from threading import Lock
from typing import Any

from rvlab.store import S3Access
from rvlab.store.aws import resolve_access, session_without_files

BOTO_ATTEMPTS = 5
"""Attempts that boto3 makes per request, within seconds, before rvlab retries the whole call."""

BOTO_CONNECT_TIMEOUT_S = 10


class BucketClients:
    """A boto3 client that sends each call with the settings of its bucket.

    The store of a run and its imagery may need different settings: the store may be the embedded
    server, and the imagery a public bucket. See `rvlab.store.aws.resolve_access`.

    Methods of boto3's client are called with ``Bucket=``, as Raster Vision does.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._clients: dict[tuple[Any, ...], Any] = {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return partial(self._call, name)

    def _call(self, name: str, **arguments: Any) -> Any:
        return getattr(self.client(arguments["Bucket"]), name)(**arguments)

    def client(self, bucket: str) -> Any:
        """Return the client of a bucket; buckets with the same settings share a client."""
        access = resolve_access(bucket)
        # After a change of ~/.aws this is a new session, as in unpatched Raster Vision.
        session = access.credential_chain.session() if access.credential_chain else None
        key = (access, access.access_key, access.secret_key, session)
        with self._lock:
            if key not in self._clients:
                self._clients[key] = new_client(access, session)
            return self._clients[key]


def new_client(access: S3Access, session: Any = None) -> Any:
    """Return a new boto3 client with all settings of an access.

    Args:
        access: The settings.
        session: botocore's session with the credentials, if `access` has none.
    """
    import boto3

    keys = {}
    if access.access_key:
        keys = {
            "aws_access_key_id": access.access_key,
            "aws_secret_access_key": access.secret_key,
            "aws_session_token": access.session_token,
        }
    settings = access.boto_config(
        retries={"mode": "standard", "max_attempts": BOTO_ATTEMPTS},
        connect_timeout=BOTO_CONNECT_TIMEOUT_S,
    )
    client = boto3.Session(botocore_session=session or session_without_files()).client(
        "s3", **keys, **settings
    )
    if access.requester_pays or _requester_pays_in_rv_config():
        client.meta.events.register("before-call.s3", _set_requester_pays)
    return client


def _set_requester_pays(params: dict[str, Any], **_: Any) -> None:
    """Add the header for "requester pays" to a request, before it is signed."""
    params["headers"]["x-amz-request-payer"] = "requester"


def _requester_pays_in_rv_config() -> bool:
    """Return whether Raster Vision's own configuration says that the requester pays."""
    plugin = sys.modules.get("rastervision.aws_s3.s3_file_system")  # ten seconds to import
    return bool(plugin and plugin.S3FileSystem.get_request_payer() == "requester")
