"""The clock of an S3 server, for comparison with the times of its objects."""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

VALID_S = 60.0
"""Seconds until the server is queried again; in between, the local monotonic clock is added."""

TIMEOUT_S = 4.0


class Clock:
    """The clock of a server, read from the ``Date`` header of its responses.

    The clocks of workers, readers and the server may differ by a day. So the age of an object is
    computed from the server's own ``Last-Modified`` and ``Date`` alone. The request needs no
    credentials, because an error response has a date, too.

    Args:
        endpoint: The server's URL.
        ca_bundle: A file of certificates in PEM that its certificate is checked with.
    """

    def __init__(self, endpoint: str, ca_bundle: str | None = None) -> None:
        self._endpoint, self._ca_bundle = endpoint, ca_bundle
        self._lock = threading.Lock()
        self._at: datetime | None = None
        self._asked: float | None = None

    def now(self) -> datetime | None:
        """Return the server's time in UTC, to the second; None without an answer or a time."""
        with self._lock:
            moment = time.monotonic()
            if self._asked is None or moment - self._asked > VALID_S:
                self._at, self._asked = (
                    _read_date_header(self._endpoint, self._ca_bundle),
                    time.monotonic(),
                )
            if self._at is None:
                return None
            return self._at + timedelta(seconds=time.monotonic() - self._asked)


def _read_date_header(endpoint: str, ca_bundle: str | None) -> datetime | None:
    parts = urlsplit(endpoint)
    connection: http.client.HTTPConnection
    try:
        if parts.scheme == "https":
            trusted = ssl.create_default_context(cafile=ca_bundle)
            connection = http.client.HTTPSConnection(
                parts.netloc, timeout=TIMEOUT_S, context=trusted
            )
        else:
            connection = http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT_S)
        try:
            connection.request("HEAD", "/")
            text = connection.getresponse().getheader("Date")
        finally:
            connection.close()
        return parsedate_to_datetime(text).astimezone(UTC) if text else None
    except (OSError, ValueError, http.client.HTTPException):
        return None
