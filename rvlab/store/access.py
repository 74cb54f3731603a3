"""Endpoint and credentials of an S3 store, in the form that each library expects."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

_NAMES = {
    "endpoint": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "access_key": ("AWS_ACCESS_KEY_ID",),
    "secret_key": ("AWS_SECRET_ACCESS_KEY",),
    "session_token": ("AWS_SESSION_TOKEN",),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
}


class HiddenStr(str):
    """A string that ``repr`` hides, for example in ``vars(access)`` or a traceback's locals."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'[secret]'"


@dataclass(frozen=True)
class S3Access:
    """Endpoint and credentials of an S3 store.

    The secrets are omitted from ``repr``, from errors and from pickles. Child processes receive
    them in their environment only. Unpickling looks for credentials in this order: a store that is
    open in the process at the same endpoint, the standard AWS variables if they name that
    endpoint, the embedded server's own files, the standard AWS variables.

    Args:
        endpoint: Such as ``http://127.0.0.1:8333``; None is Amazon's own.
        access_key: None lets each library search its usual places for credentials.
        secret_key: Secret of ``access_key``.
        session_token: For temporary credentials.
        region: Defaults to ``us-east-1``.
    """

    endpoint: str | None = None
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    region: str = "us-east-1"

    def __post_init__(self) -> None:
        for name in ("access_key", "secret_key", "session_token"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, HiddenStr(value))

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return _restore, (self.endpoint, self.region)

    def __copy__(self) -> S3Access:
        return self

    def __deepcopy__(self, _: object) -> S3Access:
        return self

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> S3Access:
        """Read the standard AWS variables."""
        env = os.environ if environ is None else environ
        found = {
            name: next((env[word] for word in words if env.get(word)), None)
            for name, words in _NAMES.items()
        }
        return cls(**{k: v for k, v in found.items() if v is not None})

    @property
    def plain_http(self) -> bool:
        """Whether the endpoint uses HTTP without TLS."""
        return bool(self.endpoint and self.endpoint.startswith("http://"))

    def environ(self) -> dict[str, str]:
        """Return the variables that boto3, s3fs, obstore and GDAL read, for a child process.

        A token and an endpoint that the child would inherit for another S3 are overridden.
        """
        out = {"AWS_DEFAULT_REGION": self.region, "AWS_REGION": self.region}
        if self.access_key and self.secret_key:
            out["AWS_ACCESS_KEY_ID"] = str(self.access_key)
            out["AWS_SECRET_ACCESS_KEY"] = str(self.secret_key)
            out["AWS_EC2_METADATA_DISABLED"] = "true"
            out["AWS_SESSION_TOKEN"] = str(self.session_token or "")
        if self.endpoint:
            out |= dict.fromkeys(_NAMES["endpoint"], self.endpoint)
        return out | self.gdal_options()

    def gdal_options(self) -> dict[str, str]:
        """Return the endpoint as GDAL options; GDAL needs all three of them."""
        if not self.endpoint:
            return {}
        return {
            "AWS_S3_ENDPOINT": urlsplit(self.endpoint).netloc,
            "AWS_HTTPS": "NO" if self.plain_http else "YES",
            "AWS_VIRTUAL_HOSTING": "FALSE",
        }

    def storage_options(self) -> dict[str, object]:
        """Return the ``storage_options`` of ``pd.read_parquet`` and s3fs."""
        out: dict[str, object] = {"client_kwargs": {"region_name": self.region}}
        if self.endpoint:
            out["endpoint_url"] = self.endpoint
        if self.access_key and self.secret_key:
            out |= {"key": str(self.access_key), "secret": str(self.secret_key)}
        if self.session_token:
            out["token"] = str(self.session_token)
        return out


def _restore(endpoint: str | None, region: str) -> S3Access:
    """Restore an unpickled access with the credentials that this process finds."""
    from rvlab.store.store import registered_stores

    for store in registered_stores():
        if store.is_s3 and store.access.endpoint == endpoint:
            return replace(store.access, region=region)
    found = S3Access.from_environ()
    if found.endpoint != endpoint:
        found = _of_embedded_server(endpoint) or found
    return replace(found, endpoint=endpoint, region=region)


def _of_embedded_server(endpoint: str | None) -> S3Access | None:
    """Return access to this user's embedded server, if it is at the endpoint."""
    if urlsplit(endpoint or "").hostname != "127.0.0.1":
        return None
    from rvlab.errors import RvlabError
    from rvlab.store import server

    kind, _, folder = os.environ.get("RVLAB_STORE", "").partition(":")
    for one in dict.fromkeys([folder if kind == "embedded" else "", ""]):
        try:
            found = server.find_server(one or None)
        except RvlabError:  # no server in that folder, or not supported on this platform
            continue
        if found and found.endpoint == endpoint:
            return S3Access(endpoint, found.access_key, found.secret_key)
    return None
