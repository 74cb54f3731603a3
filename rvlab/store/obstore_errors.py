"""Translation of obstore's errors to sentences without XML."""

from __future__ import annotations

import errno
import os
import re
from datetime import UTC, datetime

from rvlab.errors import (
    KeyChanged,
    KeyExists,
    StoreBusy,
    StoreError,
    StoreUnreachable,
)

BUSY = ("408", "429", "500", "502", "503", "504")
"""HTTP statuses after which a repeated request may succeed."""

BROKEN_OFF = ("HTTP error", "error sending request", "timed out", "Got invalid", "error decoding")
"""Texts of obstore's errors for missing or incomplete responses."""

AWAY = (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN)
"""Errors of a network folder while its server is unavailable."""

REFUSED_CODES = (
    *("SignatureDoesNotMatch", "InvalidAccessKeyId", "AccessDenied", "ExpiredToken"),
    *("InvalidToken", "credential"),
)
"""Codes of S3, or words, that mean that the credentials are not accepted."""

_MEANINGS = {
    ("NoSuchBucket",): "does not exist. Create it first, or name another store.",
    ("PermanentRedirect", "AuthorizationHeaderMalformed", "incorrectly configured region"): (
        "is in another region. Set AWS_REGION to the bucket's."
    ),
    ("InvalidCertificate(",): (
        "has a TLS certificate that this machine does not trust. Set AWS_CA_BUNDLE to the file of "
        "the authority that issued it."
    ),
}
"""Texts in an error -> what the message says of the bucket, after its name."""

_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_STATUS = re.compile(r"status code: (\d{3})([ A-Za-z]*)")
_CODE = re.compile(r"<Code>\s*([^<]{1,80}?)\s*</Code>")
_PROVIDER = re.compile(r"External AWS credential provider: [\w.]*?(\w+): (.*?)\s*(?:\n\n|\Z)", re.S)


class NoConditionalPut(StoreError):
    """The storage has no conditional put."""


def to_store_error(exc: Exception, where: str, key: str, advice: str = "") -> StoreError:
    """Translate an error of obstore to one sentence.

    Args:
        exc: The error.
        where: The storage, as the beginning of a sentence.
        key: The key.
        advice: What to do if the credentials are refused.
    """
    from obstore import exceptions as ob

    found: StoreError
    cause: Exception | None = exc
    if isinstance(exc, FileNotFoundError):  # a missing bucket; a missing key is not translated here
        found = _store_error(where, key, str(exc), advice)
    elif isinstance(exc, ob.PreconditionError):
        found = KeyChanged(f"{where} has another content of {key!r} by now.")
    elif isinstance(exc, ob.AlreadyExistsError):
        found = KeyExists(f"{where} has the key {key!r} already.")
    elif isinstance(exc, ob.PermissionDeniedError | ob.UnauthenticatedError):
        found = _denied(where, key, str(exc), advice)
    elif isinstance(exc, ob.BaseError):
        found, cause = _store_error(where, key, str(exc), advice), None
    elif isinstance(exc, OSError):
        found = StoreError(f"{where} failed on {key!r}: {exc.strerror or exc}.")
    else:
        found = StoreError(f"{key!r} is not a valid key: {exc}.")
    found.__cause__ = cause
    return found


def _denied(where: str, key: str, text: str, advice: str) -> StoreError:
    if found := _PROVIDER.search(text):
        name, why = found.groups()
        kind = StoreUnreachable if name == StoreUnreachable.__name__ else StoreError
        return kind(f"{where} needs credentials. {why}")
    if "RequestTimeTooSkewed" in text:
        return StoreError(
            f"{where} refuses requests because the clock of this machine is wrong: "
            f"it shows {datetime.now(UTC):%Y-%m-%d %H:%M} UTC. Set the clock."
        )
    if "ExpiredToken" in text:
        return StoreError(
            f"{where} refused the credentials for {key!r}: they have expired. Obtain new ones."
        )
    return StoreError(f"{where} refused the credentials for {key!r}. {advice}".rstrip())


def _store_error(where: str, key: str, text: str, advice: str) -> StoreError:
    status, code = _STATUS.search(text), _CODE.search(text)
    number, name = status[1] if status else "", code[1] if code else ""
    if number == "501" or name == "NotImplemented":
        return NoConditionalPut(f"{where} does not support conditional puts (If-None-Match).")
    for words, meaning in _MEANINGS.items():
        if any(word in text for word in words):
            return StoreError(f"{where} {meaning}")
    if away := _unreachable(where, key, text):
        return away
    for word in REFUSED_CODES:
        if word in text:
            return StoreError(f"{where} refused the credentials ({word}). {advice}".rstrip())
    if status or name:
        answer = f"HTTP status {number}{status[2].rstrip()}" if status else ""
        return StoreError(f"{where} failed on {key!r}: {', '.join(filter(None, (answer, name)))}.")
    first = text.splitlines()[0].partition("<")[0] if text else "unknown error"
    return StoreError(f"{where} failed on {key!r}: {first[:300]}")


def _unreachable(where: str, key: str, text: str) -> StoreUnreachable | None:
    """Return an error that a retry may cure: no complete response, or a busy server."""
    status = _STATUS.search(text)
    if status and (status[1] in BUSY or "<Code>RequestTimeout" in text):
        return StoreBusy(
            f"{where} failed on {key!r}: it is busy or failing (HTTP status "
            f"{status[1]}). Try again later."
        )
    if any(word in text for word in BROKEN_OFF):
        return StoreUnreachable(
            f"{where} cannot be reached. Check that it runs, and AWS_ENDPOINT_URL."
        )
    number = _OS_ERROR.search(text)
    if number and int(number[1]) in AWAY:
        why = os.strerror(int(number[1]))
        return StoreUnreachable(f"{where} cannot be reached: {why}.")
    return None
