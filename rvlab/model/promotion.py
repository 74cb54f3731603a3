"""Promoted models: the record of a version, and the record that makes a version the current one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from rvlab.errors import RecordBroken, SpecError
from rvlab.model.record import read_record, require_schema, require_times
from rvlab.model.run import is_valid_name
from rvlab.model.schema import TIME_S, column_field

VERSION_SCHEMA = CHOICE_SCHEMA = 1

FIRST_VERSION, NOT_COMPARED = "first version", "not compared"
GATE_RESULTS = ("passes", "fails", "cannot tell", FIRST_VERSION, NOT_COMPARED)
"""Results of the gate when a version is promoted: a verdict, or why no comparison was made."""

VERSION_SEPARATOR = ":"
"""Separates a model's name and a version, as in ``vegas-buildings:2``; run names cannot have it."""

_MODEL_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{1,98}[A-Za-z0-9]")
_END_OF_ID = re.compile(r"[0-9a-f]{4,6}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COLOR = re.compile(r"#[0-9a-f]{6}")


@dataclass(frozen=True, kw_only=True)
class VersionRecord:
    """The record of a version of a model: its origin, its metrics and its use; written once.

    The fields with `column_field` are columns of the table of models, with that meaning. Times are
    ISO 8601 in UTC.

    Args:
        writer: A random id, by which a writer recognises its own record.
        run_name: The name of the run.
        bundle_bytes: The size of the bundle.
        bundle_code: The code in the bundle that loading it executes; None if it has none.
        gate_sentence: The sentence of the gate, with both values and the interval.
        baseline: The runs it was compared with, separated by a comma; None without a comparison.
        baseline_version: The version it was compared with; None otherwise.
        gate_metric: The metric of the gate.
        gate_margin: The margin of the gate.
        architecture: The backbone, or the entry point of the recipe's own model.
        pretrained: Whether the training started from weights of another training.
        pretrained_source: Where these weights are from; None if the config does not name it.
        classes: The names of the classes; the index is the class id.
        colors: The color of each class, ``#rrggbb``.
        null_class: The class of pixels without a label or an image.
        channels: The number of channels of the model's input.
        channel_order: The channels of the imagery, from 0, in the order in which they are used;
            empty for all in their own order.
        bands: Their names, if the imagery has names.
        dtype: The dtype of the imagery.
        metres_per_px: The ground size of a pixel of the imagery, in metres.
        chip_px: The side of the chips on which the model was trained, in pixels.
        group: The group of the scenes on which it was scored.
        scenes: The number of these scenes.
        train_scenes: The number of scenes on which it was trained.
        level: The level of the confidence intervals, such as 0.95.
        metrics: The metrics by name; None for an undefined one.
        low: The lower ends of their confidence intervals over scenes, if they have one.
        high: The upper ends.
        source: The source of the recipe; None if the run has none.
        params: The parameters of the recipe.
        seed: The seed of the run.
        created: When the run was submitted.
        ended: When it ended.
        user: Who submitted it.
        rvlab: The version of rvlab that promoted it.
        schema: The schema number of this record.
    """

    model: str = field(metadata=column_field("The name of the model."))
    version: int = field(metadata=column_field("The version, from 1.", dtype="int64"))
    gate: str = field(
        metadata=column_field(
            "What `compare.gate` said: `passes`, `fails` or `cannot tell`; `first version` without "
            "a version to compare with, `not compared` if a comparison was not possible."
        )
    )
    override: str | None = field(
        default=None, metadata=column_field("Why it was promoted although the gate did not pass.")
    )
    promoted: str = field(metadata=column_field("When it was promoted.", dtype=TIME_S))
    promoted_by: str = field(metadata=column_field("Who promoted it: `user@host`."))
    run: str = field(metadata=column_field("The id of its run.", dtype="object"))
    note: str = field(default="", metadata=column_field("The note.", dtype="string"))
    license: str | None = field(
        default=None, metadata=column_field("The license, as the user gave it.")
    )
    task: str = field(
        metadata=column_field("Raster Vision's task, such as `semantic_segmentation`.")
    )
    recipe: str = field(metadata=column_field("The name of the recipe."))
    source_sha256: str = field(
        metadata=column_field("The SHA-256 of the recipe's source, in hexadecimal.")
    )
    commit: str | None = field(
        default=None, metadata=column_field("The git commit of the recipe's folder.")
    )
    dirty: bool | None = field(
        default=None, metadata=column_field("Whether that folder had uncommitted changes.")
    )
    image: str | None = field(
        default=None,
        metadata=column_field("The container image of the run, with its digest if it is known."),
    )
    parent: str | None = field(
        default=None, metadata=column_field("The run of which its run is a clone.")
    )
    eval_set: str | None = field(
        default=None,
        metadata=column_field("The fingerprint of the scenes and labels of the metrics."),
    )
    experiment: str = field(metadata=column_field("The experiment of its run."))
    bundle_sha256: str = field(
        metadata=column_field("The SHA-256 of the bundle, in hexadecimal; in its key, too.")
    )
    bundle_bytes: int = field(metadata=column_field("Its size.", dtype="int64", unit="bytes"))
    writer: str
    run_name: str
    bundle_code: str | None = None
    gate_sentence: str = ""
    baseline: str | None = None
    baseline_version: int | None = None
    gate_metric: str | None = None
    gate_margin: float | None = None
    architecture: str
    pretrained: bool | None = None
    pretrained_source: str | None = None
    classes: tuple[str, ...]
    colors: tuple[str, ...]
    null_class: str | None = None
    channels: int | None = None
    channel_order: tuple[int, ...] = ()
    bands: tuple[str, ...] = ()
    dtype: str | None = None
    metres_per_px: float | None = None
    chip_px: int | None = None
    group: str | None = None
    scenes: int | None = None
    train_scenes: int | None = None
    level: float | None = None
    metrics: Mapping[str, float | None]
    low: Mapping[str, float | None]
    high: Mapping[str, float | None]
    source: str | None = None
    params: Mapping[str, Any]
    seed: int
    device: str | None = None
    created: str
    ended: str
    user: str = ""
    rvlab: str = ""
    schema: int = VERSION_SCHEMA

    def record(self) -> dict[str, Any]:
        """Return the record as a JSON object."""
        return asdict(self)

    @property
    def bundle_key(self) -> str:
        """The key of the bundle."""
        return bundle_key(self.model, self.bundle_sha256)

    def key(self, *parts: str) -> str:
        """Return a key in the folder of the version."""
        return version_key(self.model, self.version, *parts)

    @classmethod
    def from_record(cls, record: object, model: str, version: int) -> VersionRecord:
        """Parse the record of a version; keys that a later version of rvlab added are ignored.

        Raises:
            RecordBroken: If a field is missing or invalid, or it is of another version.
        """
        key = version_key(model, version, VERSION_FILE)
        found = read_record(cls, record, key, _VERSION)
        require_schema(found.schema, key)
        require_times(found, key, _VERSION, "promoted", "created", "ended")
        if (found.model, found.version) != (model, version):
            raise RecordBroken(
                f"{key} must be the record of {model!r}, version {version}, but names "
                f"{found.model!r:.100}, version {found.version}."
            )
        if not (is_valid_name(found.experiment) and is_valid_name(found.run)):
            raise RecordBroken(
                f"{key}: experiment and run must be valid names, got "
                f"{f'{found.experiment}/{found.run}'!r:.200}."
            )
        if found.gate not in GATE_RESULTS:
            raise RecordBroken(
                f"{key}: gate must be one of {', '.join(GATE_RESULTS)}, got {found.gate!r:.100}."
            )
        if not _SHA256.fullmatch(found.bundle_sha256):
            raise RecordBroken(
                f"{key}: bundle_sha256 must be 64 hexadecimal digits, got "
                f"{found.bundle_sha256!r:.100}."
            )
        if len(found.colors) != len(found.classes) or not all(map(_COLOR.fullmatch, found.colors)):
            raise RecordBroken(
                f"{key}: colors must be one #rrggbb per class; it has {len(found.classes)} classes "
                f"and {len(found.colors)} colors."
            )
        return replace(
            found,
            classes=tuple(found.classes),
            colors=tuple(found.colors),
            channel_order=tuple(found.channel_order),
            bands=tuple(found.bands),
        )


@dataclass(frozen=True, kw_only=True)
class VersionChoice:
    """The choice of the current version of a model, which is written once.

    Args:
        writer: A random id, by which a writer recognises its own record.
        schema: The schema number of this record.
    """

    at: str = field(metadata=column_field("When it was chosen.", dtype=TIME_S))
    version: int | None = field(
        metadata=column_field("The current version from then on; missing for none.")
    )
    by: str = field(metadata=column_field("Who chose it: `user@host`."))
    why: str = field(default="", metadata=column_field("Why."))
    writer: str
    schema: int = CHOICE_SCHEMA

    def record(self) -> dict[str, Any]:
        """Return the record as a JSON object."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: object, key: str) -> VersionChoice:
        """Parse a record; keys that a later version of rvlab added are ignored.

        Raises:
            RecordBroken: If a field is missing or has another type.
        """
        found = read_record(cls, record, key, "the choice of the current version")
        require_schema(found.schema, key)
        require_times(found, key, "the choice of the current version", "at")
        return found


MODELS_FOLDER = "_models"
"""The folder of a store for promoted models; no experiment's name starts with ``_``."""

VERSION_FILE, ITEM_FILE, CARD_FILE, SOURCE_COPY = (
    "version.json",
    "item.json",
    "README.md",
    "recipe.py",
)
"""The files of a version: its record, its STAC item, its model card and its recipe."""

_VERSION = "a version of a model"


def version_key(model: str, version: int, *parts: str) -> str:
    """Return a key in the folder of a version."""
    return "/".join((MODELS_FOLDER, model, str(version), *parts))


def version_choice_key(model: str, number: int) -> str:
    """Return the key of a choice of the current version, by its number from 1."""
    return f"{MODELS_FOLDER}/{model}/current/{number:06d}.json"


def bundle_key(model: str, sha256: str) -> str:
    """Return the key of a bundle; versions with the same bundle share it."""
    return f"{MODELS_FOLDER}/{model}/bundles/{sha256}.zip"


def is_model_name(name: str) -> bool:
    """Return whether a name is valid for a model; see `validate_model_name`."""
    return bool(_MODEL_NAME.fullmatch(name)) and not _END_OF_ID.fullmatch(name)


def validate_model_name(name: Any) -> str:
    """Return the name of a model.

    Raises:
        SpecError: If it is not 3 to 100 letters, digits, ``.``, ``_`` and ``-``, starting with a
            letter and ending with a letter or digit, as the STAC extension MLM requires; or could
            be the end of an id.
    """
    if not isinstance(name, str) or not _MODEL_NAME.fullmatch(name):
        raise SpecError(
            f"{name!r} is not a valid name of a model. Use 3 to 100 letters, digits, '.', '_' and "
            "'-', starting with a letter and ending with a letter or digit."
        )
    if _END_OF_ID.fullmatch(name):
        raise SpecError(
            f"{name!r} cannot be the name of a model: 4 to 6 characters of 0-9 and a-f could be "
            "the end of a run's id. Add a hyphen or another letter."
        )
    return name
