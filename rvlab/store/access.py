"""How an S3 store is reached: one set of settings, in the words of each library that needs them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_NAMES = {
    "endpoint": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "access_key": ("AWS_ACCESS_KEY_ID",),
    "secret_key": ("AWS_SECRET_ACCESS_KEY",),
    "session_token": ("AWS_SESSION_TOKEN",),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
}


@dataclass(frozen=True)
class S3Access:
    """Endpoint and credentials of an S3 store.

    The secrets are left out of ``repr`` and of every error; they travel to child processes in their
    environment only.

    Args:
        endpoint: Such as ``http://127.0.0.1:8333``; None is Amazon's own.
        access_key: None lets each library look for credentials where it always does.
        secret_key: Belongs to ``access_key``.
        session_token: For temporary credentials.
        region: Defaults to ``us-east-1``.
    """

    endpoint: str | None = None
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    region: str = "us-east-1"

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
        """Whether the endpoint speaks HTTP without TLS."""
        return bool(self.endpoint and self.endpoint.startswith("http://"))

    def environ(self) -> dict[str, str]:
        """The variables that boto3, s3fs, obstore and GDAL read, for a child process.

        A token and an endpoint that the child would inherit for another S3 are overridden.
        """
        out = {"AWS_DEFAULT_REGION": self.region, "AWS_REGION": self.region}
        if self.access_key and self.secret_key:
            out |= {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}
            out["AWS_EC2_METADATA_DISABLED"] = "true"
            out["AWS_SESSION_TOKEN"] = self.session_token or ""
        if self.endpoint:
            out |= dict.fromkeys(_NAMES["endpoint"], self.endpoint)
        return out | self.gdal_options()

    def gdal_options(self) -> dict[str, str]:
        """The endpoint in GDAL's words; every subset of the three fails."""
        if not self.endpoint:
            return {}
        return {
            "AWS_S3_ENDPOINT": urlsplit(self.endpoint).netloc,
            "AWS_HTTPS": "NO" if self.plain_http else "YES",
            "AWS_VIRTUAL_HOSTING": "FALSE",
        }

    def storage_options(self) -> dict[str, object]:
        """What ``pd.read_parquet(uri, storage_options=…)`` and s3fs take."""
        out: dict[str, object] = {"client_kwargs": {"region_name": self.region}}
        if self.endpoint:
            out["endpoint_url"] = self.endpoint
        if self.access_key and self.secret_key:
            out |= {"key": self.access_key, "secret": self.secret_key}
        if self.session_token:
            out["token"] = self.session_token
        return out
