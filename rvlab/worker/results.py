"""Tidy tables of the outputs of Raster Vision's eval and train steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rvlab import metrics
from rvlab.errors import RecordBroken
from rvlab.metrics import unlabelled_id
from rvlab.model import headline_group
from rvlab.model.tables import CONFUSION_TABLE, EVALS_TABLE, HISTORY_TABLE
from rvlab.model.train_log import parse_epochs
from rvlab.object_metrics import ScoredObjects
from rvlab.store.table_file import rows_to_arrow
from rvlab.worker.reported_metrics import has_reported_metrics, reported_rows
from rvlab.worker.rv_evaluation import OUTSIDE_AOI

GROUP_BY_RV_NAME = {
    "train_scenes": "train",
    "validation_scenes": "validation",
    "test_scenes": "test",
}
"""Raster Vision's default scene groups -> their names in rvlab."""

HEADLINE_METRICS = ("f1", "precision", "recall", "mean_iou", "accuracy", "rv_average_f1")
"""Metrics over all classes that are columns of a run's row."""

_METRICS = (metrics.precision, metrics.recall, metrics.f1)
_OVERALL: dict[str, Callable[..., metrics.Floats]] = {
    "f1": metrics.macro_f1,
    "precision": metrics.macro_precision,
    "recall": metrics.macro_recall,
    "mean_iou": metrics.mean_iou,
    "accuracy": metrics.accuracy,
}


def evaluation_tables(
    evals: Mapping[str, Any],
    class_config: Mapping[str, Any],
    outside: Mapping[str, int] | None = None,
) -> tuple[pa.Table, pa.Table]:
    """Return metrics and confusion matrices of every scene group, per scene and over all scenes.

    All metrics except ``rv_average_*`` are recomputed from the counts by `rvlab.metrics`: Raster
    Vision has no IoU, reports the F1 of a class that is never predicted as undefined instead of 0,
    and weights its average by truth pixels. Where the null class is named ``null``, pixels of that
    true class are unlabelled: they are excluded from every metric and count, and the class has no
    metrics. A null class of another name, such as ``background``, is an ordinary class.
    Raster Vision counts pixels outside a scene's areas of interest as true positives of the null
    class. They are excluded here, but not from ``rv_average_*``. Raster Vision 0.12 and 0.13 wrote
    no counts; see `rvlab.worker.reported_metrics`.

    Args:
        evals: A scene group's name -> its parsed ``eval.json``, of semantic segmentation, chip
            classification or object detection. The suffix ``_scenes`` of Raster Vision's default
            groups is removed: ``validation_scenes`` becomes ``validation``.
        class_config: ``dataset.class_config`` of ``pipeline-config.json``.
        outside: Scene -> pixels outside its areas of interest, for an ``eval.json`` that does not
            record this number. Only rvlab's eval step records it.

    Returns:
        Two tables, of the schemas `EVALS_TABLE` and `CONFUSION_TABLE`; rows over all scenes come
        first, then scenes by name.

        The first has rows per class: ``precision recall f1 iou`` and ``truth_count
        prediction_count`` (labelled pixels, chips or boxes, true and predicted; for the class
        ``null`` the excluded pixels, and the labelled pixels predicted as ``null``). It has rows
        over all classes, with class null: ``f1 precision recall`` (macro averages), ``mean_iou
        accuracy``, and Raster Vision's ``rv_average_f1 rv_average_precision rv_average_recall``.
        An undefined value is null. An object detection has no ``iou``, ``mean_iou``, ``accuracy``.

        The second has a row for every pair of classes, including ``null`` and counts of zero; it
        has no rows for an object detection.

    Raises:
        RecordBroken: If an ``eval.json`` does not have Raster Vision's form, or its classes differ
            from those of ``class_config``.
    """
    names, ignore = _class_names(class_config)
    null = class_config.get("null_class")
    null_id = names.index(null) if null in names else None
    measured: list[tuple[str, str | None, str | None, str, float | None]] = []
    confused: list[tuple[str, str | None, str, str, int]] = []
    table_names = group_names(evals)
    for key, raw in evals.items():
        group = table_names[key]
        item_lists = list(_iter_items(raw, f"eval/{key}/eval.json"))
        outside_px = {
            scene: pixels_outside_aoi(items, (outside or {}).get(scene, 0))
            for scene, items, _ in item_lists
            if scene is not None
        }
        for scene, items, where in item_lists:
            if has_reported_metrics(items):
                reported = reported_rows(items, names, ignore, where)
                measured += [
                    (group, scene, name, metric, value) for name, metric, value in reported
                ]
                continue
            counts, rv_average = _count_items(items, names, where)
            if null_id is not None and not isinstance(counts, metrics.Counts):
                counts[null_id, null_id] -= outside_px[scene] if scene else sum(outside_px.values())
            rows = [*_per_class(counts, names, ignore), *_over_classes(counts, ignore)]
            rows += [(None, f"rv_average_{m}", v) for m, v in rv_average.items()]
            measured += [(group, scene, name, metric, value) for name, metric, value in rows]
            if not isinstance(counts, metrics.Counts):
                confused += [
                    (group, scene, truth, prediction, int(counts[i, j]))
                    for i, truth in enumerate(names)
                    for j, prediction in enumerate(names)
                ]
    return rows_to_arrow(EVALS_TABLE, measured), rows_to_arrow(CONFUSION_TABLE, confused)


def scenes_without_outside_count(evals: Mapping[str, Any]) -> set[str]:
    """Return the scenes with a confusion matrix and no record of their pixels outside areas.

    Args:
        evals: As for `evaluation_tables`.
    """
    return {
        scene
        for key, raw in evals.items()
        for scene, items, _ in _iter_items(raw, f"eval/{key}/eval.json")
        if scene is not None
        and any("conf_mat" in item for item in items if item.get("class_id") is None)
        and not any(OUTSIDE_AOI in item for item in items)
        and not has_reported_metrics(items)
    }


def counting_rules(evals: Mapping[str, Any], uncounted: Collection[str]) -> dict[str, str]:
    """Return the counting rule of each group whose pixels were not counted by rvlab's own rule.

    Args:
        evals: As for `evaluation_tables`.
        uncounted: Scenes whose pixels outside their areas of interest are counted as the null
            class, since their number is unknown.
    """
    rules = {}
    table_names = group_names(evals)
    for key, raw in evals.items():
        item_lists = list(_iter_items(raw, f"eval/{key}/eval.json"))
        if any(has_reported_metrics(items) for _, items, _ in item_lists):
            rules[table_names[key]] = "metrics of Raster Vision 0.12 or 0.13"
        elif any(scene in uncounted for scene, _, _ in item_lists):
            rules[table_names[key]] = "pixels outside areas of interest counted"
    return rules


def group_names(groups: Iterable[str]) -> dict[str, str]:
    """Return the name in tables of each Raster Vision scene group, without ``_scenes``."""
    known = list(groups)
    short = {name: GROUP_BY_RV_NAME.get(name, name) for name in known}
    return {name: name if short[name] in known else short[name] for name in known}


def headline_metrics(evals: pa.Table) -> dict[str, float]:
    """Return the headline metrics of a run, which are columns of the table of runs.

    Args:
        evals: The first table of `evaluation_tables`.

    Returns:
        For the group ``validation``, else ``test``, else the first group: ``f1 precision recall
        mean_iou accuracy rv_average_f1``, ``f1.{class}`` and ``iou.{class}``. For each other group:
        ``{group}.f1`` and ``{group}.mean_iou``. Each is over all scenes of the group. Undefined
        values are omitted; the result is empty without groups.
    """
    groups: dict[str, dict[tuple[str | None, str], float]] = {}
    for row in evals.filter(pc.is_null(evals["scene"])).to_pylist():
        values = groups.setdefault(row["group"], {})
        if row["value"] is not None and not math.isnan(row["value"]):
            values[row["class"], row["metric"]] = row["value"]
    if not groups:
        return {}
    headline_name = headline_group(groups)
    headline = groups.pop(headline_name)
    result = {m: headline[None, m] for m in HEADLINE_METRICS if (None, m) in headline}
    result |= {f"{m}.{name}": v for (name, m), v in headline.items() if name and m in ("f1", "iou")}
    for group, values in groups.items():
        result |= {
            f"{group}.{m}": values[None, m] for m in ("f1", "mean_iou") if (None, m) in values
        }
    return result


def object_metrics(
    objects: pa.Table, scenes: pa.Table, omitted: Collection[str] = ()
) -> dict[str, float]:
    """Return the headline metrics of objects, for the scenes of the other headline metrics.

    Args:
        objects: The table of objects, with its ``task`` in the metadata.
        scenes: The table of scored scenes.
        omitted: Scored scenes that `objects` lacks.

    Returns:
        ``object_f1 object_precision object_recall`` (macro averages at an IoU of 0.5) and
        ``count_error``; for an object detection also ``mAP`` and ``mAP50``. Undefined values are
        omitted; the result is empty if a scored scene is omitted.
    """
    groups = scenes["group"].unique().to_pylist()
    if not groups:
        return {}
    headline_name = headline_group(groups)
    scored = scenes.filter(pc.equal(scenes["group"], headline_name))["scene"].combine_chunks()
    if set(scored.to_pylist()) & set(omitted):
        return {}
    objects = objects.filter(pc.is_in(objects["scene"], scored))
    if headline_name in objects["group"].unique().to_pylist():
        objects = objects.filter(pc.equal(objects["group"], headline_name))
    if not len(objects):
        return {}
    class_ids, classes = _codes(objects["class"])
    scored_objects = ScoredObjects(
        is_truth=pc.equal(objects["side"], "truth").to_numpy(),
        scenes=_codes(objects["scene"])[0],
        class_ids=class_ids,
        scores=objects["score"].to_numpy(),
        matched_at=objects["matched_at"].to_numpy().astype(np.int64),
        classes=classes,
    )
    counts = scored_objects.counts(scored_objects.matches(0))
    result = {
        "object_f1": float(metrics.macro_f1(counts)),
        "object_precision": float(metrics.macro_precision(counts)),
        "object_recall": float(metrics.macro_recall(counts)),
        "count_error": scored_objects.count_error(),
    }
    if (objects.schema.metadata or {}).get(b"task") == b"object_detection":
        result |= scored_objects.mean_average_precisions()
    return {name: value for name, value in result.items() if not math.isnan(value)}


def _codes(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], int]:
    """Return a number from 0 for each value of a column, and how many values there are."""
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), len(encoded.dictionary)


def history_from_log(log_csv: str) -> pa.Table:
    """Return the training log as a table; raise as `rvlab.model.train_log.parse_epochs` does.

    Args:
        log_csv: The text of ``train/log.csv``.

    Returns:
        One row per epoch: ``epoch`` (int64, from 0), then Raster Vision's columns, all float64,
        times in seconds as ``train_time_s`` and ``valid_time_s``. An empty log gives the column
        ``epoch`` only.
    """
    rows = parse_epochs(log_csv)
    return rows_to_arrow(HISTORY_TABLE.with_others(rows[0] if rows else ()), rows)


def _class_names(class_config: Mapping[str, Any]) -> tuple[list[str], int | None]:
    names = class_config.get("names")
    if not isinstance(names, list) or not names:
        raise RecordBroken("pipeline-config.json has no dataset.class_config.names.")
    return names, unlabelled_id(names, class_config.get("null_class"))


def _iter_items(raw: Any, where: str) -> Iterator[tuple[str | None, list[Any], str]]:
    """List each scene (None for all scenes, first), its items, and their location for messages."""
    lists: dict[str | None, Any] = {None: raw}
    if isinstance(raw, dict):
        scenes = raw.get("per_scene", {})
        if "overall" not in raw or not isinstance(scenes, dict):
            raise RecordBroken(f"{where} must have a list 'overall' and an object 'per_scene'.")
        lists = {None: raw["overall"], **{name: scenes[name] for name in sorted(scenes)}}
    for scene, items in lists.items():
        here = where if scene is None else f"{where}, scene {scene!r},"
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise RecordBroken(f"{here} must be a list of objects, one per class.")
        yield scene, items, here


def pixels_outside_aoi(items: list[Any], default: int = 0) -> int:
    """Return the number of pixels outside the areas of interest as eval recorded it."""
    return int(next((i[OUTSIDE_AOI] for i in items if OUTSIDE_AOI in i), default))


def _count_items(
    items: list[Any], names: Sequence[str], where: str
) -> tuple[metrics.Floats | metrics.Counts, dict[str, float | None]]:
    """Return the confusion matrix or counts of a list of items, and Raster Vision's averages."""
    try:
        # The average is the item without a class id; a class may be named "average" as well.
        numbered = (i for i in items if i.get("class_id") is not None)
        classes = sorted(numbered, key=lambda i: int(i["class_id"]))
        average = next(i for i in items if i.get("class_id") is None)
        rv_average = {m: average["metrics"][m] for m in ("f1", "precision", "recall")}
        rv_average = {m: metrics.none_if_nan(v) for m, v in rv_average.items()}
        if (item_names := [item["class_name"] for item in classes]) != list(names):
            raise RecordBroken(
                f"{where} has the classes {item_names}; pipeline-config.json has {list(names)}."
            )
        if "conf_mat" not in average:
            keys = ("true_pos", "false_pos", "false_neg")
            return metrics.detection_counts(
                *([item[k] for item in classes] for k in keys)
            ), rv_average
        matrix = metrics.drop_unlabelled(average["conf_mat"], None)
        if matrix.shape != (len(names), len(names)):
            raise RecordBroken(
                f"{where} has a conf_mat of shape {matrix.shape} for {len(names)} classes."
            )
        if (matrix % 1).any():
            raise RecordBroken(f"{where} must have integer pixel counts, got fractions.")
        return matrix, rv_average
    except StopIteration:
        raise RecordBroken(f"{where} has no item 'average'.") from None
    except KeyError as exc:
        raise RecordBroken(f"{where} has an item without {exc}.") from exc
    except RecordBroken:
        raise
    except (TypeError, ValueError) as exc:
        raise RecordBroken(f"{where} has no usable counts or metrics: {exc}") from exc


def _per_class(
    all_counts: metrics.Floats | metrics.Counts, names: Sequence[str], ignore: int | None
) -> Iterator[tuple[str | None, str, float | None]]:
    scored = metrics.counts(all_counts, ignore=ignore)
    columns = {m.__name__: m(all_counts, ignore=ignore) for m in _METRICS}
    if not isinstance(all_counts, metrics.Counts):
        columns["iou"] = metrics.iou(all_counts, ignore=ignore)
    columns |= {
        "truth_count": scored.tp + scored.fn,
        "prediction_count": scored.tp + scored.fp,
    }
    if ignore is not None:
        with_unlabelled = metrics.counts(all_counts)
        columns["truth_count"][ignore] = (with_unlabelled.tp + with_unlabelled.fn)[ignore]
        # The false positives of this class are labelled pixels; its true positives are unlabelled.
        columns["prediction_count"][ignore] = with_unlabelled.fp[ignore]
    for i, name in enumerate(names):
        for metric, values in columns.items():
            if i != ignore or metric.endswith("_count"):
                yield name, metric, metrics.none_if_nan(values[i])


def _over_classes(
    all_counts: metrics.Floats | metrics.Counts, ignore: int | None
) -> Iterator[tuple[str | None, str, float | None]]:
    for metric, function in _OVERALL.items():
        if metric not in ("mean_iou", "accuracy") or not isinstance(all_counts, metrics.Counts):
            yield None, metric, metrics.none_if_nan(float(function(all_counts, ignore=ignore)))
