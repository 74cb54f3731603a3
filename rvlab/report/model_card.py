"""The model card of a version of a model, in Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rvlab.compare.metric_functions import CLASS_METRICS, OBJECT_METRICS
from rvlab.model.limits import MIB
from rvlab.model.promotion import VersionRecord
from rvlab.report.render import render_markdown
from rvlab.report.run_summary import MISSING_TEXT, format_metric, shorten_text

_PIPELINE_TAGS = {
    "semantic_segmentation": "image-segmentation",
    "chip_classification": "image-classification",
    "object_detection": "object-detection",
}
_WHAT = {
    "semantic_segmentation": "Assigns a class to each pixel of",
    "chip_classification": "Assigns a class to each cell of",
    "object_detection": "Finds boxes of objects in",
}


def model_card(record: VersionRecord, store: str, *, front_matter: bool = False) -> str:
    """Return the model card of a version.

    Args:
        record: The version.
        store: The argument of `rvlab.Lab` that opens its store.
        front_matter: Whether to begin with metadata in YAML, as the Hugging Face Hub reads it.
    """
    name = f"{record.model}:{record.version}"
    text = render_markdown(
        "card.md.j2",
        version=record,
        what=_WHAT.get(record.task, "Predicts"),
        imagery=_imagery(record),
        classes=[
            (str(number), name, color)
            for number, (name, color) in enumerate(zip(record.classes, record.colors, strict=True))
        ],
        overall=_overall(record),
        by_class=_by_class(record, CLASS_METRICS),
        of_objects=_by_class(record, OBJECT_METRICS),
        class_metrics=CLASS_METRICS,
        object_metrics=OBJECT_METRICS,
        level=f"{100 * record.level:g} %" if record.level else "",
        params=[(key, shorten_text(value)) for key, value in record.params.items()],
        origin=_origin(record),
        size=f"{record.bundle_bytes / MIB:,.1f} MiB",
        use_lines=(
            "import rvlab",
            f"lab = rvlab.Lab({store!r})",
            f"run = lab.predict({name!r}, 'scene.tif')",
            f"module = lab.model({name!r})  # of torch",
        ),
        path=record.bundle_key,
    )
    return _front_matter(record) + text if front_matter else text


def _imagery(record: VersionRecord) -> str:
    parts = []
    if record.channels is not None:
        named = f" ({', '.join(record.bands)})" if record.bands else ""
        parts.append(f"{record.channels} channels{named}")
    if record.channel_order:
        parts.append(f"channel order {', '.join(map(str, record.channel_order))}")
    if record.dtype:
        parts.append(f"dtype {record.dtype}")
    if record.metres_per_px:
        parts.append(f"{record.metres_per_px:.3g} m per pixel")
    return ", ".join(parts)


def _overall(record: VersionRecord) -> list[list[str]]:
    """Return the metrics over all classes: name, value and interval."""
    names = [name for name in record.metrics if not _is_of_class(record, name)]
    return [[name, *_score(record, name)] for name in names]


def _by_class(record: VersionRecord, kinds: Sequence[str]) -> list[list[str]]:
    """Return a row for each class with metrics of some kinds."""
    rows = []
    for class_name in record.classes:
        names = [f"{kind}.{class_name}" for kind in kinds]
        if any(name in record.metrics for name in names):
            scores = [_score(record, name) for name in names]
            rows.append([class_name, *(f"{v} ({ends})" if ends else v for v, ends in scores)])
    return rows


def _is_of_class(record: VersionRecord, name: str) -> bool:
    kind, _, class_name = name.partition(".")
    return kind in (*CLASS_METRICS, *OBJECT_METRICS) and class_name in record.classes


def _score(record: VersionRecord, name: str) -> tuple[str, str]:
    """Return the value of a metric and its interval as text; a missing interval is empty."""
    value, low, high = (part.get(name) for part in (record.metrics, record.low, record.high))
    has_ends = value is not None and low is not None and high is not None
    text = MISSING_TEXT if value is None else format_metric(value)
    return text, f"{low:.3f} to {high:.3f}" if has_ends else ""


def _origin(record: VersionRecord) -> list[tuple[str, str]]:
    commit = record.commit and f"{record.commit}{' with uncommitted changes' * bool(record.dirty)}"
    source = "no" if record.pretrained is False else record.pretrained_source or "yes"
    values = {
        "run": f"{record.experiment}/{record.run}",
        "name of the run": record.run_name,
        "recipe": record.recipe,
        "SHA-256 of the recipe": record.source_sha256,
        "git commit": commit,
        "clone of the run": record.parent,
        "container image": record.image,
        "seed": record.seed,
        "device": record.device,
        "pretrained": None if record.pretrained is None else source,
        "submitted": f"{record.created[:19]} UTC, {record.user}".rstrip(", "),
        "ended": f"{record.ended[:19]} UTC",
    }
    return [(key, shorten_text(value)) for key, value in values.items() if value not in (None, "")]


def _front_matter(record: VersionRecord) -> str:
    """Return YAML, whose texts are written as JSON, which is YAML."""
    found = {
        "license": record.license,
        "library_name": "rastervision",
        "pipeline_tag": _PIPELINE_TAGS.get(record.task),
        "tags": ["remote-sensing", "raster-vision", "pytorch"],
    }
    lines = [f"{key}: {json.dumps(value)}" for key, value in found.items() if value]
    return "\n".join(["---", *lines, "---", "", ""])
