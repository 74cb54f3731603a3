"""A version of a model as a STAC item with the extension MLM (Machine Learning Model).

STAC 1.1 with the extensions mlm 1.4.0, which pystac reads, file 2.1.0 and version 1.2.0. Fields
that these extensions lack are properties with the prefix ``rvlab:``.
"""

from __future__ import annotations

import re
from typing import Any

from rvlab.model.promotion import SOURCE_COPY, VersionRecord

MLM = "https://stac-extensions.github.io/mlm/v1.4.0/schema.json"
EXTENSIONS = (
    MLM,
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "https://stac-extensions.github.io/version/v1.2.0/schema.json",
)

_TASKS = {
    "semantic_segmentation": "semantic-segmentation",
    "chip_classification": "scene-classification",
    "object_detection": "object-detection",
}
"""Raster Vision's tasks -> tasks of MLM, which calls a chip a scene."""

_MAXIMA = {"uint8": 255, "uint16": 65535, "int8": 127, "int16": 32767}
"""The numbers by which Raster Vision divides imagery, by dtype."""

_SHA256_MULTIHASH = "1220"
"""Prefix of a SHA-256 of 32 bytes as a multihash."""


def stac_item(record: VersionRecord) -> dict[str, Any]:
    """Return a version of a model as a STAC item, whose links are relative to its folder.

    Args:
        record: The version.
    """
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": list(EXTENSIONS),
        "id": f"{record.model}-{record.version}",
        "geometry": None,
        "properties": {
            "title": f"{record.model}, version {record.version}",
            **({"description": record.note} if record.note else {}),
            "datetime": _time(record.ended),
            "created": _time(record.promoted),
            **({"license": record.license} if record.license else {}),
            "version": str(record.version),
            **_mlm_properties(record),
            **_own_properties(record),
        },
        "links": [
            {"rel": "predecessor-version", "href": f"../{n}/item.json", "type": _GEOJSON}
            for n in [record.version - 1]
            if n
        ],
        "assets": _assets(record),
    }


_GEOJSON = "application/geo+json"


def _time(text: str) -> str:
    return text.replace("+00:00", "Z")


def _mlm_properties(record: VersionRecord) -> dict[str, Any]:
    task = _TASKS.get(record.task)
    tasks = [task] if task else []
    found: dict[str, Any] = {
        "mlm:name": record.model,
        "mlm:architecture": record.architecture,
        "mlm:tasks": tasks,
        "mlm:framework": "PyTorch",
        "mlm:accelerator": None,
        "mlm:input": [_input(record)],
        "mlm:output": [
            {
                "name": "labels",
                "tasks": tasks,
                "result": _result(record),
                "classification:classes": [
                    {
                        "value": number,
                        "name": re.sub(r"[^0-9A-Za-z_-]+", "_", name) or "_",
                        "description": name,
                        "color_hint": color.removeprefix("#").upper(),
                    }
                    for number, (name, color) in enumerate(
                        zip(record.classes, record.colors, strict=True)
                    )
                ],
            }
        ],
    }
    if record.bands:  # STAC allows them here if an asset has them, and MLM requires them here
        found["bands"] = _bands(record)
    hyperparameters = {
        name: value
        for name, value in record.params.items()
        if re.fullmatch(r"[0-9a-zA-Z_.-]+", name)
    }
    if hyperparameters:
        found["mlm:hyperparameters"] = hyperparameters
    if record.pretrained is not None:
        found["mlm:pretrained"] = record.pretrained
        if record.pretrained_source is not None or not record.pretrained:
            found["mlm:pretrained_source"] = record.pretrained_source
    return found


def _input(record: VersionRecord) -> dict[str, Any]:
    """Return the input of the torch module: floats from 0 to 1, as Raster Vision scales them."""
    side = record.chip_px or -1
    found: dict[str, Any] = {
        "name": "image",
        "bands": list(record.bands),
        "input": {
            "shape": [-1, record.channels or -1, side, side],
            "dim_order": ["batch", "bands" if record.bands else "channel", "height", "width"],
            "data_type": "float32",
        },
    }
    if maximum := _MAXIMA.get(record.dtype or ""):
        found["value_scaling"] = [{"type": "min-max", "minimum": 0, "maximum": maximum}]
    return found


def _bands(record: VersionRecord) -> list[dict[str, str]]:
    kind = {"data_type": record.dtype} if record.dtype else {}
    return [{"name": name, **kind} for name in record.bands]


def _result(record: VersionRecord) -> dict[str, Any]:
    classes, side = len(record.classes), record.chip_px or -1
    shape, dims = {
        "chip_classification": ([-1, classes], ["batch", "class"]),
        # For each image: corners, class id and score of each box.
        "object_detection": ([-1, -1, 6], ["batch", "box", "value"]),
    }.get(record.task, ([-1, classes, side, side], ["batch", "class", "height", "width"]))
    return {"shape": shape, "dim_order": dims, "data_type": "float32"}


def _own_properties(record: VersionRecord) -> dict[str, Any]:
    metrics = [
        {
            "name": name,
            "value": value,
            "low": record.low.get(name),
            "high": record.high.get(name),
        }
        for name, value in record.metrics.items()
    ]
    found = {
        "run": record.run,
        "experiment": record.experiment,
        "parent": record.parent,
        "recipe": record.recipe,
        "source_sha256": record.source_sha256,
        "commit": record.commit,
        "dirty": record.dirty,
        "image": record.image,
        "seed": record.seed,
        "task": record.task,
        "null_class": record.null_class,
        "channel_order": list(record.channel_order) or None,
        "dtype": record.dtype,
        "metres_per_px": record.metres_per_px,
        "metrics": metrics,
        "metrics_level": record.level,
        "eval_set": record.eval_set,
        "eval_group": record.group,
        "eval_scenes": record.scenes,
        "gate": record.gate,
        "gate_sentence": record.gate_sentence,
        "baseline": record.baseline,
        "override": record.override,
        "promoted_by": record.promoted_by,
    }
    return {f"rvlab:{name}": value for name, value in found.items() if value is not None}


def _assets(record: VersionRecord) -> dict[str, Any]:
    found: dict[str, Any] = {
        "model": {
            "href": f"../bundles/{record.bundle_sha256}.zip",
            "title": "Model bundle of Raster Vision",
            "type": "application/zip",
            "roles": ["mlm:model", "mlm:weights", "data"],
            "mlm:artifact_type": "rastervision.model-bundle",
            "file:size": record.bundle_bytes,
            "file:checksum": f"{_SHA256_MULTIHASH}{record.bundle_sha256}",
            **({"bands": _bands(record)} if record.bands else {}),
        },
        "card": {
            "href": "README.md",
            "title": "Model card",
            "type": "text/markdown",
            "roles": ["metadata"],
        },
    }
    if record.source is not None:
        found["recipe"] = {
            "href": SOURCE_COPY,
            "title": f"Recipe {record.recipe}",
            "type": "text/x-python",
            "roles": ["mlm:source_code", "code"],
            "file:checksum": f"{_SHA256_MULTIHASH}{record.source_sha256}",
        }
    if record.image:
        found["container"] = {
            "href": record.image,
            "title": "Container image of the run",
            "type": "application/vnd.oci.image.index.v1+json",
            "roles": ["mlm:container", "runtime"],
        }
    return found
