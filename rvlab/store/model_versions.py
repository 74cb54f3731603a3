"""The keys of promoted models: listing, reading, new versions and choices of the current one.

The versions of a model and the choices of the current one are numbered and written once, if
absent. So two users cannot make the same version, and the order of choices needs no clock.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rvlab.errors import KeyExists, KeyMissing, NotFound, RecordBroken, RvlabError, did_you_mean
from rvlab.model import utc_now
from rvlab.model.promotion import (
    MODELS_FOLDER,
    VERSION_FILE,
    VersionChoice,
    VersionRecord,
    is_model_name,
    version_choice_key,
    version_key,
)
from rvlab.store.store import Store, parse_record

_VERSION_KEY = re.compile(rf"([1-9][0-9]{{0,8}})/{re.escape(VERSION_FILE)}")
_CHOICE_KEY = re.compile(r"current/([0-9]{6,9})\.json")


@dataclass(frozen=True)
class ModelListing:
    """A model and the numbers of its records.

    Args:
        model: The name of the model.
        versions: Its versions, the oldest first.
        choices: Numbers of the records that chose its current version, the oldest first.
    """

    model: str
    versions: tuple[int, ...]
    choices: tuple[int, ...]


class ModelState(NamedTuple):
    """The records of a model in a store, and its current version.

    Args:
        listing: The listing.
        current: The current version; None if no version is current.
    """

    listing: ModelListing
    current: int | None


def list_models(store: Store) -> list[ModelListing]:
    """List the models of a store that have a version, by name.

    Raises:
        StoreError: If the store does not answer or refuses.
    """
    names = [name for name in store.folders(f"{MODELS_FOLDER}/") if is_model_name(name)]
    found = store.map_concurrently(lambda name: list_model(store, name), names)
    return [one for one in found.values() if one.versions]


def list_model(store: Store, model: str) -> ModelListing:
    """List the records of a model; a model that does not exist has none."""
    prefix = f"{MODELS_FOLDER}/{model}/"
    names = [key.removeprefix(prefix) for key, _ in store.files(prefix)]

    def numbers(pattern: re.Pattern[str]) -> tuple[int, ...]:
        return tuple(sorted(int(found[1]) for one in names if (found := pattern.fullmatch(one))))

    return ModelListing(model, numbers(_VERSION_KEY), numbers(_CHOICE_KEY))


def require_model(store: Store, model: str) -> ModelListing:
    """Return the listing of a model.

    Raises:
        NotFound: If it has no version.
    """
    found = list_model(store, model) if is_model_name(model) else None
    if found is None or not found.versions:
        known = [one.model for one in list_models(store)]
        raise NotFound(f"No model {model!r} in {store.uri}. {did_you_mean(model, known)}")
    return found


def read_state(store: Store, listing: ModelListing) -> ModelState:
    """Read which version of a model is the current one.

    Raises:
        RecordBroken: If the record of the last choice is invalid.
    """
    choices = read_version_choices(store, listing, listing.choices[-1:])
    current = choices[-1].version if choices else None
    return ModelState(listing, current if current in listing.versions else None)


def read_version_choices(
    store: Store, listing: ModelListing, numbers: Sequence[int] | None = None
) -> list[VersionChoice]:
    """Read the choices of the current version of a model, the oldest first.

    Args:
        store: The store.
        listing: The model.
        numbers: The choices to read; None reads all.
    """
    keys = [
        version_choice_key(listing.model, n)
        for n in (listing.choices if numbers is None else numbers)
    ]
    answers = store.read_many(keys, _parse_choice)
    return [_require_parsed(answers[key]) for key in keys]


def read_version(store: Store, model: str, version: int) -> VersionRecord:
    """Read the record of a version.

    Raises:
        NotFound: If the version does not exist.
        RecordBroken: If its record is invalid.
    """
    try:
        record = store.get_json(version_key(model, version, VERSION_FILE))
    except KeyMissing as exc:
        versions = require_model(store, model).versions
        listed = ", ".join(map(str, versions[-8:]))
        raise NotFound(
            f"The model {model!r} has no version {version}. There are {listed}."
        ) from exc
    return VersionRecord.from_record(record, model, version)


def read_versions(
    store: Store, listings: Sequence[ModelListing]
) -> dict[tuple[str, int], VersionRecord | RvlabError]:
    """Read the records of all versions of models; an error takes the place of an invalid one."""
    wanted = {
        version_key(one.model, version, VERSION_FILE): (one.model, version)
        for one in listings
        for version in one.versions
    }

    def parse(key: str, data: bytes) -> VersionRecord:
        return VersionRecord.from_record(parse_record(key, data), *wanted[key])

    answers = store.read_many(wanted, parse)
    return {
        wanted[key]: answer if isinstance(answer, RvlabError) else answer[0]
        for key, answer in answers.items()
    }


def create_version(store: Store, record: VersionRecord) -> None:
    """Write the record of a new version.

    Raises:
        KeyExists: If another user has made this version; the message says who.
    """
    key = record.key(VERSION_FILE)
    try:
        store.put_json(key, record.record(), if_absent=True)
    except KeyExists as exc:
        try:
            other = read_version(store, record.model, record.version)
            who = f"{other.promoted_by} from the run {other.run}"
        except RecordBroken:
            who = "another user"
        raise KeyExists(
            f"Version {record.version} of the model {record.model!r} was made by {who} in the "
            "meantime. Promote again: the run is then compared with that version."
        ) from exc


def write_version_choice(
    store: Store, model: str, version: int | None, by: str, why: str
) -> VersionChoice:
    """Make a version of a model the current one, after all choices that exist."""
    record = VersionChoice(
        at=utc_now(), version=version, by=by, why=why, writer=secrets.token_hex(8)
    )
    while True:
        choices = list_model(store, model).choices
        try:
            store.put_json(
                version_choice_key(model, (choices or (0,))[-1] + 1),
                record.record(),
                if_absent=True,
            )
        except KeyExists:  # by another user since
            continue
        return record


def _parse_choice(key: str, data: bytes) -> VersionChoice:
    return VersionChoice.from_record(parse_record(key, data), key)


def _require_parsed(answer: tuple[VersionChoice, str | None] | RvlabError) -> VersionChoice:
    if isinstance(answer, RvlabError):
        raise answer
    return answer[0]
