"""The limit on S3: the requests that somebody made, made again by bare obstore, and nothing else.

Which they were is told by the wire (`slow_s3.Wire.seen`), and where ends lie by the writers, so
nothing here knows a key. GETs and listings go out all at once, some dozens in flight; the pages of
one listing come one after the other. What is missing, written or deleted is left out.
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
    """One listing: of everything below a prefix, or only of what is directly there."""

    prefix: str
    folders: bool = False
    after: str = ""


@dataclass(frozen=True)
class Requests:
    """What was asked of S3.

    Args:
        gets: Keys and ranges, ``""`` for a whole key.
        listings: How many pages of each listing.
        others: How many requests of each other method.
    """

    gets: tuple[tuple[str, str], ...]
    listings: dict[Listing, int]
    others: dict[str, int]

    @classmethod
    def of(cls, seen: Iterable[tuple[str, str, str]]) -> Requests:
        """Understand the lines of a wire."""
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
    """The bucket of ``$RVLAB_STORE``, reached as the AWS variables say."""
    from obstore.store import S3Store

    return S3Store(
        os.environ["RVLAB_STORE"].removeprefix("s3://").partition("/")[0],
        endpoint=os.environ["AWS_ENDPOINT_URL"],
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )


def again(store: Any, wanted: Requests, in_flight: int, *, listings: bool = True) -> float:
    """Seconds that bare requests take; a first small one goes before the clock starts."""
    jobs: list[Callable[[], int]] = []
    if listings:
        jobs += [_listed(store, one, pages) for one, pages in wanted.listings.items()]
    jobs += [_got(store, key, span) for key, span in wanted.gets]
    with ThreadPoolExecutor(in_flight) as pool:
        list(pool.map(lambda _: _got(store, "nothing/here", "")(), range(in_flight)))
        start = time.perf_counter()
        list(pool.map(lambda job: job(), jobs))
    return time.perf_counter() - start


def listing_s(store: Any, listing: Listing) -> float:
    """Seconds that a bare listing takes, page after page."""
    start = time.perf_counter()
    _listed(store, listing, 10**9)()
    return time.perf_counter() - start


def of_ends() -> Listing:
    """That which tells what runs of ``$RVLAB_STORE`` have ended, where today's writers put ends.

    Where each end lies in a folder of its own, the folders are listed.
    """
    prefix = os.environ["RVLAB_STORE"].removeprefix("s3://").partition("/")[2]
    folder, _, rest = layout().end.replace("{experiment}", EXPERIMENT).partition("{run}")
    return Listing(f"{prefix}/{folder}", folders="/" in rest)


def trip_s(store: Any) -> float:
    """Seconds that one GET takes, of a key that is not there."""
    start = time.perf_counter()
    _got(store, "nothing/here", "")()
    return time.perf_counter() - start


def _listed(store: Any, listing: Listing, pages: int) -> Callable[[], int]:
    def run() -> int:
        import obstore

        if listing.folders:  # reads all pages, as there are no fewer to be had
            return len(obstore.list_with_delimiter(store, listing.prefix)["common_prefixes"])
        found = obstore.list(store, listing.prefix, offset=listing.after or None, chunk_size=1000)
        return sum(len(page) for _, page in zip(range(pages), found, strict=False))

    return run


def _got(store: Any, key: str, span: str) -> Callable[[], int]:
    def run() -> int:
        import obstore

        with suppress(FileNotFoundError):
            if span:
                start, end = span.removeprefix("bytes=").split("-")
                return len(obstore.get_range(store, key, start=int(start), end=int(end) + 1))
            return len(obstore.get(store, key).bytes())
        return 0

    return run
