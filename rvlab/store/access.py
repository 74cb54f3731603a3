"""Endpoint and credentials of an S3 store, in the form that each library expects."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rvlab.errors import SpecError

if TYPE_CHECKING:
    from rvlab.store.aws import CredentialChain

_NAMES = {
    "endpoint": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "access_key": ("AWS_ACCESS_KEY_ID",),
    "secret_key": ("AWS_SECRET_ACCESS_KEY",),
    "session_token": ("AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "profile": ("AWS_DEFAULT_PROFILE", "AWS_PROFILE"),  # in botocore's order
    "ca_bundle": ("AWS_CA_BUNDLE",),
}
_CHECKSUMS = ("AWS_REQUEST_CHECKSUM_CALCULATION", "AWS_RESPONSE_CHECKSUM_VALIDATION")

DEFAULT_PROFILE = "default"
"""The profile that AWS's tools use if none is named."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Hosts that are never reached through a proxy."""


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
        endpoint: The URL of the S3 server, such as ``http://127.0.0.1:8333``; None is Amazon S3.
        access_key: None obtains credentials as boto3 does: see `rvlab.store.aws`.
        secret_key: Secret of ``access_key``.
        session_token: For temporary credentials.
        region: Defaults to ``us-east-1``.
        profile: The profile of ``~/.aws`` that the credentials come from if there is no
            ``access_key``. None is ``$AWS_PROFILE``, else ``default``.
        anonymous: Requests are not signed, as public buckets allow.
        requester_pays: The caller pays for requests and transfer.
        path_style: Whether the bucket is in the URL's path rather than in the host name. None is
            path style for every endpoint except Amazon S3.
        ca_bundle: A file of certificates in PEM that the endpoint's certificate is checked with.
        checksums: ``when_supported`` or ``when_required``; boto3's setting. None is
            ``when_required`` for every endpoint but Amazon's, as others refuse boto3's checksums.
    """

    endpoint: str | None = None
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    region: str = "us-east-1"
    profile: str | None = None
    anonymous: bool = False
    requester_pays: bool = False
    path_style: bool | None = None
    ca_bundle: str | None = None
    checksums: str | None = None

    def __post_init__(self) -> None:
        for name in _SECRETS:
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, HiddenStr(value))

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        settings = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _SECRETS}
        return _restore, (settings, self.access_key is not None)

    def __copy__(self) -> S3Access:
        return self

    def __deepcopy__(self, _: object) -> S3Access:
        return self

    @classmethod
    def from_environ(
        cls, environ: Mapping[str, str] | None = None, defaults: Mapping[str, str] | None = None
    ) -> S3Access:
        """Read the standard AWS variables, without ``~/.aws``; see `rvlab.store.aws`.

        Args:
            environ: The variables; None is this process's.
            defaults: Values of variables that are not set.
        """
        env = os.environ if environ is None else environ
        both = (env, defaults or {})
        words = {**_NAMES, "checksums": _CHECKSUMS[:1]}
        found: dict[str, Any] = {
            name: next((v for one in both for word in wanted if (v := one.get(word))), None)
            for name, wanted in words.items()
        }
        found["ca_bundle"] = found["ca_bundle"] or env.get("REQUESTS_CA_BUNDLE") or None
        if env.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true":
            found["endpoint"] = None
        if env.get("AWS_NO_SIGN_REQUEST", "").lower() in ("yes", "true", "1"):
            found |= {"anonymous": True, **dict.fromkeys(_SECRETS)}
        found["requester_pays"] = env.get("AWS_REQUEST_PAYER", "").lower() == "requester" or None
        if not (found["access_key"] and found["secret_key"]):
            found |= dict.fromkeys(_SECRETS)
        else:
            found["profile"] = None
        virtual = next((v for one in both if (v := one.get("AWS_VIRTUAL_HOSTING"))), None)
        if virtual is not None:
            path_style = virtual.lower() in ("false", "no", "0", "off")
            found["path_style"] = None if path_style and found["endpoint"] else path_style
        made = cls(**{name: value for name, value in found.items() if value is not None})
        is_default = replace(made, checksums=None).checksum_rule == made.checksums
        return replace(made, checksums=None) if is_default else made

    @property
    def plain_http(self) -> bool:
        """Whether the endpoint uses HTTP without TLS."""
        return bool(self.endpoint and self.endpoint.startswith("http://"))

    @property
    def is_loopback(self) -> bool:
        """Whether the endpoint is on this machine."""
        return is_loopback(self.endpoint)

    @property
    def checksum_rule(self) -> str:
        """When boto3 sends checksums: only Amazon is known to accept them as trailers."""
        host = urlsplit(self.endpoint or "").hostname or ""
        is_amazon = not host or host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
        return self.checksums or ("when_supported" if is_amazon else "when_required")

    @property
    def credential_chain(self) -> CredentialChain | None:
        """The credentials that boto3 would find; None if these are given, or none are needed."""
        if self.access_key or self.anonymous:
            return None
        from rvlab.store.aws import credential_chain

        names = (os.environ.get(name) for name in _NAMES["profile"])
        return credential_chain(self.profile or next(filter(None, names), DEFAULT_PROFILE))

    def keys(self) -> tuple[str, str, str | None] | None:
        """Return access key, secret key and session token as they are now; None if anonymous.

        Raises:
            StoreError: If there are none, or they cannot be obtained.
        """
        if self.access_key and self.secret_key:
            return self.access_key, self.secret_key, self.session_token
        return self.credential_chain.require_keys() if self.credential_chain else None

    def environ(self, *, elsewhere: bool = False) -> dict[str, str]:
        """Return the variables that boto3, s3fs, obstore and GDAL read, for a child process.

        A token and an endpoint that the child would inherit for another S3 are overridden.

        Args:
            elsewhere: Whether the child lacks this machine's ``~/.aws``, as a container does; then
                it receives the current credentials, which may expire.
        """
        out = {"AWS_DEFAULT_REGION": self.region, "AWS_REGION": self.region}
        keys = self.keys() if elsewhere or self.access_key else None
        if keys:
            out["AWS_ACCESS_KEY_ID"], out["AWS_SECRET_ACCESS_KEY"] = str(keys[0]), str(keys[1])
            out["AWS_SESSION_TOKEN"] = str(keys[2] or "")
            out["AWS_NO_SIGN_REQUEST"] = "NO"
        elif self.profile not in (None, DEFAULT_PROFILE):
            out |= dict.fromkeys(_NAMES["profile"], str(self.profile))
        if self.endpoint:
            # The other variable would also redirect the STS and the SSO of a chain.
            names = _NAMES["endpoint"] if self.access_key else _NAMES["endpoint"][:1]
            out |= dict.fromkeys(names, self.endpoint)
            out["AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"] = "false"
        if self.checksums or self.endpoint:
            out |= dict.fromkeys(_CHECKSUMS, self.checksum_rule)
        if self.ca_bundle:
            out["AWS_CA_BUNDLE"] = self.ca_bundle
        if self.is_loopback:
            out |= _no_proxy()
        options = self.gdal_options()
        options.pop("GDAL_HTTP_PROXY", None)  # NO_PROXY does the same, for this endpoint only
        return out | options

    def gdal_options(self) -> dict[str, str]:
        """Return the settings as GDAL options, without credentials."""
        out = {}
        if self.endpoint:  # GDAL needs all three of them
            out["AWS_S3_ENDPOINT"] = urlsplit(self.endpoint).netloc
            out["AWS_HTTPS"] = "NO" if self.plain_http else "YES"
            out["AWS_VIRTUAL_HOSTING"] = "TRUE" if self.path_style is False else "FALSE"
        elif self.path_style is not None:
            out["AWS_VIRTUAL_HOSTING"] = "FALSE" if self.path_style else "TRUE"
        if self._overrides_endpoint and os.environ.get("AWS_S3_ENDPOINT"):
            out["AWS_S3_ENDPOINT"] = urlsplit(self._amazon).netloc
            out["AWS_HTTPS"] = "YES"
            out.setdefault("AWS_VIRTUAL_HOSTING", "TRUE")
        if self.anonymous:
            out["AWS_NO_SIGN_REQUEST"] = "YES"
        if self.requester_pays:
            out["AWS_REQUEST_PAYER"] = "requester"
        if self.ca_bundle and not self.plain_http:
            out["GDAL_CURL_CA_BUNDLE"] = self.ca_bundle
        if self.is_loopback:
            out["GDAL_HTTP_PROXY"] = ""  # curl uses the variables of a proxy otherwise
        return out

    def obstore_options(self, bucket: str) -> dict[str, Any]:
        """Return the settings as arguments of obstore's ``S3Store``, with the secret.

        obstore reads settings that are not passed from the environment, which may hold an endpoint
        or a token of another S3.
        """
        out: dict[str, Any] = {"region": self.region, "request_payer": self.requester_pays}
        client: dict[str, Any] = {"allow_http": self.plain_http}
        if self.endpoint:
            endpoint = self.endpoint
            if self.path_style is False:  # obstore expects the bucket in the endpoint
                endpoint = endpoint.replace("://", f"://{bucket}.", 1)
            out |= dict.fromkeys(("endpoint", "aws_endpoint_url_s3"), endpoint)
            out["virtual_hosted_style_request"] = self.path_style is False
        elif self.path_style is not None:
            out["virtual_hosted_style_request"] = not self.path_style
        elif self._overrides_endpoint:
            out["endpoint"] = self._amazon
        out["skip_signature"] = self.anonymous
        if self.access_key and self.secret_key:
            out |= {"access_key_id": self.access_key, "secret_access_key": self.secret_key}
            out["session_token"] = self.session_token or ""
        elif self.credential_chain:
            out["credential_provider"] = self.credential_chain.obstore_credential
        if self.ca_bundle and not self.plain_http:
            client["root_certificate"] = read_certificates(self.ca_bundle)
        if self.is_loopback:  # without a proxy_url, obstore uses that of the environment
            client |= {"proxy_url": self.endpoint, "proxy_excludes": ",".join(LOOPBACK)}
        return {**out, "client_options": client}

    def boto_config(self, **more: Any) -> dict[str, Any]:
        """Return the settings as arguments of a boto3 client, without credentials.

        Args:
            **more: Settings of ``botocore.config.Config``.
        """
        from botocore import UNSIGNED
        from botocore.config import Config

        config = {**self._boto_settings(), **more}
        if self.anonymous:
            config["signature_version"] = UNSIGNED
        out: dict[str, Any] = {"region_name": self.region, "config": Config(**config)}
        if self.endpoint:
            out["endpoint_url"] = self.endpoint
        out["verify"] = self.ca_bundle or True
        return out

    @property
    def _overrides_endpoint(self) -> bool:
        """Whether the environment names an endpoint, but this is a bucket of Amazon's."""
        return not self.endpoint and any(os.environ.get(name) for name in _NAMES["endpoint"])

    @property
    def _amazon(self) -> str:
        return f"https://s3.{self.region}.amazonaws.com{'.cn' * self.region.startswith('cn-')}"

    def _boto_settings(self) -> dict[str, Any]:
        out: dict[str, Any] = {}
        if self.endpoint or self.checksums:
            names = ("request_checksum_calculation", "response_checksum_validation")
            out |= dict.fromkeys(names, self.checksum_rule)
        if self.endpoint or self.path_style is not None:
            is_virtual = not self.path_style if self.path_style is not None else False
            out["s3"] = {"addressing_style": "virtual" if is_virtual else "path"}
        if self._overrides_endpoint:
            out["ignore_configured_endpoint_urls"] = True
        if self.is_loopback:
            out["proxies"] = {}
        return out

    def storage_options(self) -> dict[str, object]:
        """Return the ``storage_options`` of ``pd.read_parquet`` and s3fs."""
        client: dict[str, object] = {"region_name": self.region}
        if self.ca_bundle:
            client["verify"] = self.ca_bundle
        out: dict[str, object] = {"client_kwargs": client}
        if self.endpoint:
            out["endpoint_url"] = self.endpoint
        if settings := self._boto_settings():
            out["config_kwargs"] = settings
        if self.access_key and self.secret_key:
            out |= {"key": str(self.access_key), "secret": str(self.secret_key)}
            if self.session_token:
                out["token"] = str(self.session_token)
        elif self.anonymous:
            out["anon"] = True
        elif self.profile not in (None, DEFAULT_PROFILE):
            out["profile"] = self.profile
        if self.requester_pays:
            out["requester_pays"] = True
        return out


_SECRETS = ("access_key", "secret_key", "session_token")


def is_loopback(url: str | None) -> bool:
    """Return whether a URL names this machine by a loopback address."""
    try:
        host = urlsplit(url or "").hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, or no URL
        return False


def _no_proxy() -> dict[str, str]:
    """Return variables that exclude this machine from a proxy, if there is one."""
    from urllib.request import getproxies_environment

    if not set(getproxies_environment()) - {"no"}:
        return {}
    inherited = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    hosts = ",".join(dict.fromkeys(filter(None, (*(inherited or "").split(","), *LOOPBACK))))
    return {"NO_PROXY": hosts, "no_proxy": hosts}


def read_certificates(path: str) -> str:
    """Read a file of certificates in PEM.

    Raises:
        SpecError: If it cannot be read.
    """
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise SpecError(
            f"The certificates {path!r} cannot be read: {exc}. Change AWS_CA_BUNDLE."
        ) from exc


def _restore(settings: Mapping[str, Any], has_keys: bool) -> S3Access:
    """Restore an unpickled access with the credentials that this process finds."""
    from rvlab.store.addresses import registered_stores

    bare = S3Access(**settings)
    if not has_keys:
        return bare
    for store in registered_stores():
        if store.is_s3 and store.access.endpoint == bare.endpoint:
            return _with_keys(bare, store.access)
    found = S3Access.from_environ()
    if found.endpoint != bare.endpoint:
        found = _access_of_embedded_server(bare.endpoint) or found
    return _with_keys(bare, found)


def _with_keys(bare: S3Access, other: S3Access) -> S3Access:
    return replace(bare, **{name: getattr(other, name) for name in _SECRETS})


def _access_of_embedded_server(endpoint: str | None) -> S3Access | None:
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
