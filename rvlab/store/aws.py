"""AWS settings of this process: variables and ``~/.aws``, resolved once for every library.

obstore, boto3, GDAL and s3fs search for settings in different places. `resolve_access` searches
where boto3 does, in the same order, and the result is passed to each library explicitly.
Credentials come from botocore's own chain: a profile's keys, SSO, roles, web identity (IRSA),
``credential_process``, containers and EC2.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from rvlab.errors import SpecError, StoreError, StoreUnreachable
from rvlab.store.access import DEFAULT_PROFILE, HiddenStr, S3Access

AWS_FILES = {
    "AWS_CONFIG_FILE": "~/.aws/config",
    "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials",
}
"""Variables that name botocore's files, with their defaults."""

STORE_BUCKET, OUTSIDE = "RVLAB_STORE_BUCKET", "RVLAB_OUTSIDE_"
"""In a step of a run: the bucket to which the AWS variables belong, and the prefix of the variables
that its submitter has for other buckets."""

REQUERY_AFTER_S = 330
"""Lifetime in seconds of credentials that are passed to obstore.

obstore requests new credentials five minutes before they expire, which is every half minute here.
botocore returns the same credentials until they expire or a file changes.
"""

NO_CREDENTIALS = (
    "No credentials for S3 were found. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
    "AWS_PROFILE, or AWS_NO_SIGN_REQUEST=YES for a public bucket."
)


def resolve_access(bucket: str | None = None) -> S3Access:
    """Return endpoint, credentials and options of S3 from the variables and ``~/.aws``.

    A variable overrides the profile, which is ``$AWS_PROFILE`` or ``default``, as in boto3.

    Args:
        bucket: The bucket that is opened. In a step of a run, the AWS variables belong to the
            bucket of the run's store; another bucket has the settings that the run's submitter has.

    Raises:
        SpecError: If the profile does not exist, or its file cannot be parsed.
    """
    env = submitter_environ(bucket)
    found = S3Access.from_environ(env)
    chain = credential_chain(found.profile or DEFAULT_PROFILE, env)
    if found.profile or chain.is_configured:
        found = S3Access.from_environ(env, chain.settings(env))
    if found.access_key or found.anonymous:
        return found
    return replace(found, profile=chain.profile)  # fixed now, even if $AWS_PROFILE changes later


class Keys(NamedTuple):
    """Credentials as they are now."""

    access_key: str
    secret_key: HiddenStr
    session_token: HiddenStr | None


class CredentialChain:
    """botocore's credentials of one profile, refreshed before they expire.

    Args:
        profile: Its name; `DEFAULT_PROFILE` need not exist.
        config_file: The path of ``~/.aws/config``.
        credentials_file: The path of ``~/.aws/credentials``.
    """

    def __init__(self, profile: str, config_file: str, credentials_file: str) -> None:
        self.profile = profile
        self._files = (config_file, credentials_file)
        self._lock = Lock()
        self._session: Any = None
        self._credentials: Any = None
        self._read: tuple[object, ...] | None = None
        self._returned_secrets: set[str] = set()

    @property
    def is_configured(self) -> bool:
        """Whether one of the files exists."""
        return any(Path(path).is_file() for path in self._files)

    def keys(self) -> Keys | None:
        """Return the credentials as they are now; None if there are none.

        Raises:
            StoreError: If they cannot be obtained, for example because an SSO login has expired.
        """
        with self._lock, self._translate_errors():
            self._open()
            if self._credentials is None:
                self._credentials = self._session.get_credentials()
            if self._credentials is None:
                return None
            now = self._credentials.get_frozen_credentials()
            token = HiddenStr(now.token) if now.token else None
            self._returned_secrets |= {now.secret_key, now.token or ""}
            return Keys(now.access_key, HiddenStr(now.secret_key), token)

    def require_keys(self) -> Keys:
        """Return the credentials as they are now.

        Raises:
            StoreError: As for `keys`, and if there are none.
        """
        found = self.keys()
        if found is None:
            raise StoreError(NO_CREDENTIALS)
        return found

    @property
    def returned_secrets(self) -> frozenset[str]:
        """The secrets that `keys` has returned so far, to mask them in logs."""
        return frozenset(self._returned_secrets)

    def session(self) -> Any:
        """Return the botocore session; another one after a file has changed."""
        self.keys()
        return self._session

    def obstore_credential(self) -> dict[str, Any]:
        """Return the credentials in the form that obstore expects of a credential provider.

        Raises:
            StoreError: As for `keys`, and if there are none.
        """
        found = self.require_keys()
        return {
            "access_key_id": str(found.access_key),
            "secret_access_key": str(found.secret_key),
            "token": str(found.session_token) if found.session_token else None,
            "expires_at": datetime.now(UTC) + timedelta(seconds=REQUERY_AFTER_S),
        }

    def settings(self, env: Mapping[str, str]) -> dict[str, str]:
        """Return the settings of the profile as the equivalent AWS variables.

        Args:
            env: The environment; it may say that configured endpoints are ignored.

        Raises:
            SpecError: If the profile does not exist, or its file cannot be parsed.
        """
        from botocore import exceptions as boto

        try:
            with self._lock:
                self._open()
                scoped = self._session.get_scoped_config()
                services = self._session.full_config.get("services", {})
        except boto.ProfileNotFound as exc:
            raise SpecError(
                f"The AWS profile {self.profile!r} is in neither {self._files[0]} nor "
                f"{self._files[1]}. Change AWS_PROFILE."
            ) from exc
        except boto.ConfigParseError as exc:
            raise SpecError(f"{self._files[0]} or {self._files[1]} cannot be parsed.") from exc
        own = services.get(scoped.get("services"), {}).get("s3", {})
        s3 = scoped.get("s3") if isinstance(scoped.get("s3"), dict) else {}
        ignored = env.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") or scoped.get(
            "ignore_configured_endpoint_urls", ""
        )
        endpoint = own.get("endpoint_url") or scoped.get("endpoint_url")
        style = (s3 or {}).get("addressing_style")
        found = {
            "AWS_ENDPOINT_URL": None if str(ignored).lower() == "true" else endpoint,
            "AWS_REGION": scoped.get("region"),
            "AWS_CA_BUNDLE": scoped.get("ca_bundle"),
            "AWS_VIRTUAL_HOSTING": {"path": "FALSE", "virtual": "TRUE"}.get(str(style)),
            "AWS_REQUEST_CHECKSUM_CALCULATION": scoped.get("request_checksum_calculation"),
        }
        return {name: str(value) for name, value in found.items() if value}

    def _open(self) -> None:
        """Create the session, again if a file has changed, as each new boto3 session would."""
        state = tuple(_file_state(Path(path)) for path in self._files)
        if self._session is not None and state == self._read:
            return
        profile = None if self.profile == DEFAULT_PROFILE else self.profile
        session = _new_session(profile, *self._files)
        session.get_component("credential_provider").remove("env")  # `S3Access` has read them
        self._session, self._credentials, self._read = session, None, state

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        from botocore import exceptions as boto

        name = f"the AWS profile {self.profile!r}"
        try:
            yield
        except (boto.ConnectionError, boto.HTTPClientError) as exc:
            raise StoreUnreachable(
                f"The credentials of {name} cannot be requested: their server does not respond."
            ) from exc
        except (boto.BotoCoreError, boto.ClientError) as exc:
            login = f" Run: aws sso login --profile {self.profile}" if "SSO" in repr(exc) else ""
            why = str(exc).rstrip(".")
            raise StoreError(
                f"The credentials of {name} cannot be obtained: {why}.{login}"
            ) from exc


def _file_state(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def credential_chain(profile: str, environ: Mapping[str, str] | None = None) -> CredentialChain:
    """Return the chain of a profile; the same one for all stores of this process."""
    env = os.environ if environ is None else environ
    names = (env.get(name) or default for name, default in AWS_FILES.items())
    return _chain(profile, *(os.path.expanduser(name) for name in names))  # noqa: PTH111  no ~user


_chain = lru_cache(maxsize=32)(CredentialChain)


def session_without_files() -> Any:
    """Return a botocore session without the files of ``~/.aws``."""
    return _new_session(None, os.devnull, os.devnull)


def _new_session(profile: str | None, config_file: str, credentials_file: str) -> Any:
    from botocore.configprovider import ConstantProvider
    from botocore.session import Session

    session = Session()
    pinned = {
        "profile": profile,
        "config_file": config_file,
        "credentials_file": credentials_file,
    }
    for name, value in pinned.items():
        # Not an argument of Session: a profile that is given there disables IRSA's variables.
        session.get_component("config_store").set_config_provider(name, ConstantProvider(value))
    return session


def variables_for_other_buckets(bucket: str, variables: Mapping[str, str]) -> dict[str, str]:
    """Return variables that keep what a child process would otherwise lose for other buckets.

    Args:
        bucket: The bucket that `variables` belong to.
        variables: The AWS variables that the child receives.
    """
    kept = {
        f"{OUTSIDE}{name}": os.environ.get(name, "")
        for name, value in variables.items()
        if name.startswith("AWS_") and os.environ.get(name, "") != value
    }
    return {**kept, STORE_BUCKET: bucket} if kept else {}


def submitter_environ(bucket: str | None) -> dict[str, str]:
    """Return the environment for a bucket: in a step of a run, that of its submitter."""
    env = dict(os.environ)
    if bucket is None or env.get(STORE_BUCKET, bucket) == bucket:
        return env
    kept = {name.removeprefix(OUTSIDE): v for name, v in env.items() if name.startswith(OUTSIDE)}
    return {name: value for name, value in (env | kept).items() if value or name not in kept}
