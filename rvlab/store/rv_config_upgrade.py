"""Older forms of Raster Vision's ``pipeline-config.json``, converted to the present form.

Raster Vision converts a config when it loads it. rvlab reads the file as plain JSON, so it converts
the fields that it needs itself, for versions from 0.12 on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_CLASS_FIELDS = ("default_class_id", "class_id_to_filter", "line_bufs", "point_bufs")
"""Fields of a vector source before 0.20, which has transformers since."""


def upgrade_rv_config(value: Any) -> Any:
    """Return a config, or a part of one, in the present form.

    Args:
        value: Parsed JSON; it is not changed.
    """
    if isinstance(value, list):
        return [upgrade_rv_config(one) for one in value]
    if not isinstance(value, Mapping):
        return value
    part = {str(name): upgrade_rv_config(inner) for name, inner in value.items()}
    kind = part.get("type_hint")
    if kind == "geojson_vector_source":
        return _upgrade_vectors(part)
    if kind == "rasterio_source":
        return _upgrade_raster(part)
    if kind == "semantic_segmentation_label_source":
        return _upgrade_labels(part)
    return part


def _upgrade_vectors(part: dict[str, Any]) -> dict[str, Any]:
    if "uris" not in part and "uri" in part:  # until 0.20
        part["uris"] = part.pop("uri")
    if "transformers" not in part and any(name in part for name in _CLASS_FIELDS):
        found = {name: part.pop(name, None) for name in _CLASS_FIELDS}
        part["transformers"] = [
            {
                "type_hint": "class_inference_transformer",
                "default_class_id": found["default_class_id"],
                "class_id_to_filter": found["class_id_to_filter"],
            },
            *(
                {"type_hint": "buffer_transformer", "geom_type": kind, "class_bufs": bufs or {}}
                for kind, bufs in (
                    ("LineString", found["line_bufs"]),
                    ("Point", found["point_bufs"]),
                )
            ),
        ]
    return part


def _upgrade_raster(part: dict[str, Any]) -> dict[str, Any]:
    extent = part.pop("extent", None)
    if part.get("bbox") is None and extent is not None:  # until 0.30
        part["bbox"] = extent
    if part.get("extent_crop") is not None:  # until 0.13: shares of the size
        part["type_hint"] = "rasterio_source with extent_crop"
    return part


def _upgrade_labels(part: dict[str, Any]) -> dict[str, Any]:
    colors, source = part.pop("rgb_class_config", None), part.get("raster_source")
    if colors is not None and isinstance(source, dict):  # until 0.13
        step = {"type_hint": "rgb_class_transformer", "class_config": colors}
        part["raster_source"] = {
            **source,
            "transformers": [*(source.get("transformers") or []), step],
        }
    return part
