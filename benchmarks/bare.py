"""The lower limit on S3: recorded requests, repeated with plain obstore.

The proxy (`slow_s3.Wire.take_requests`) records the requests, and the writers' own code provides
the keys of end records, so that no key is hard-coded here. GETs and listings are sent concurrently,
some dozens in flight; the pages of a listing are requested one after another. Missing keys, writes
and deletions are ignored.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from sample_runs import EXPERIMENT, layout


@dataclass(frozen=True)
class Listing:
    """A listing of all keys below a prefix, or only of the folders directly below it."""

    prefix: str
    folders: bool = False
    after: str = ""


@dataclass(frozen=True)
class Requests:
    """Recorded requests to S3.

    Args:
        gets: Keys and byte ranges; ``""`` for the complete object.
        listings: Number of pages of each listing.
        others: Number of requests of each other method.
    """

    gets: tuple[tuple[str, str], ...]
    listings: dict[Listing, int]
    others: dict[str, int]

    @classmethod
    def of(cls, seen: Iterable[tuple[str, str, str]]) -> Requests:
        """Parse the requests that the proxy recorded."""
        gets: dict[tuple[str, str], None] = {}
        listings: Counter[Listing] = Counter()
        others: Counter[str] = Counter()
        for method, target, span in seen:
            parts = urlsplit(target)
            key = unquote(parts.path).lstrip("/").partition("/")[2]
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            if method == "GET" and "list-type" in query:
                deep = "delimiter" not in query
                one = Listing(query.get("prefix", ""), not deep, query.get("start-after", ""))
                listings[one] += 1
            elif method == "GET":
                gets[key, span] = None
            else:
                others[method] += 1
        return cls(tuple(gets), dict(listings), dict(others))

    def __str__(self) -> str:
        rest = "".join(f", {number} {method}" for method, number in self.others.items())
        return f"{len(self.gets)} GET, {sum(self.listings.values())} pages of listings{rest}"


def bucket() -> Any:
    """Open the bucket of ``$RVLAB_STORE`` with the AWS variables."""
    from obstore.store import S3Store

    return S3Store(
        os.environ["RVLAB_STORE"].removeprefix("s3://").partition("/")[0],
        endpoint=os.environ["AWS_ENDPOINT_URL"],
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )


def again(store: Any, wanted: Requests, in_flight: int, *, listings: bool = True) -> float:
    """Return the seconds for repeating requests, after opening the connections."""
    jobs: list[Callable[[], int]] = []
    if listings:
        jobs += [_list_call(store, one, pages) for one, pages in wanted.listings.items()]
    jobs += [_get_call(store, key, span) for key, span in wanted.gets]
    with ThreadPoolExecutor(in_flight) as pool:
        list(pool.map(lambda _: _get_call(store, "nothing/here", "")(), range(in_flight)))
        start = time.perf_counter()
        list(pool.map(lambda job: job(), jobs))
    return time.perf_counter() - start


def listing_s(store: Any, listing: Listing) -> float:
    """Return the seconds for a plain listing, page after page."""
    start = time.perf_counter()
    _list_call(store, listing, 10**9)()
    return time.perf_counter() - start


def of_ends() -> Listing:
    """Return the listing of end records in ``$RVLAB_STORE``, as the current code writes them.

    If each end record is in a separate folder, the folders are listed.
    """
    prefix = os.environ["RVLAB_STORE"].removeprefix("s3://").partition("/")[2]
    folder, _, rest = layout().end.replace("{experiment}", EXPERIMENT).partition("{run}")
    return Listing(f"{prefix}/{folder}", folders="/" in rest)


def trip_s(store: Any) -> float:
    """Return the seconds for one GET of a missing key."""
    start = time.perf_counter()
    _get_call(store, "nothing/here", "")()
    return time.perf_counter() - start


def _list_call(store: Any, listing: Listing, pages: int) -> Callable[[], int]:
    def run() -> int:
        import obstore

        if listing.folders:  # obstore always reads all pages here
            return len(obstore.list_with_delimiter(store, listing.prefix)["common_prefixes"])
        found = obstore.list(store, listing.prefix, offset=listing.after or None, chunk_size=1000)
        return sum(len(page) for _, page in zip(range(pages), found, strict=False))

    return run


def _get_call(store: Any, key: str, span: str) -> Callable[[], int]:
    def run() -> int:
        import obstore

        with suppress(FileNotFoundError):
            if span:
                start, end = span.removeprefix("bytes=").split("-")
                return len(obstore.get_range(store, key, start=int(start), end=int(end) + 1))
            return len(obstore.get(store, key).bytes())
        return 0

    return run
