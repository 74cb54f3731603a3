"""Scenes of a run: their group, files, labels and areas of interest, as its config lists them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any

from rvlab.errors import NotFound, RecordBroken, RvlabError, did_you_mean
from rvlab.model import Run
from rvlab.raster.config import (
    Address,
    BoxSource,
    Classes,
    RasterSource,
    VectorSource,
    classes_from_config,
    parse_addresses,
    parse_raster_source,
    parse_transformers,
    parse_truth_source,
)
from rvlab.store import Store, rv_outputs, store_for_uri
from rvlab.store.addresses import mark_if_refused

NO_CLASSES = Classes((), ())

SCENE_GROUPS = ("train", "validation", "test")

FILES_STORE = "prediction_files"
"""Type hint of the label store of a scene whose predictions are any rasters.

Raster Vision has no such label store: `rvlab.exchange` writes it for predictions of other programs.
Its fields are ``labels_uri`` and ``scores_uri``, of which one may be missing, and ``transformers``
of the labels, as those of a label raster.
"""


@dataclass(frozen=True)
class Scene:
    """A scene of a run. The origin of its windows is the corner of its image's `bbox`.

    Args:
        id: Scene id.
        group: ``train``, ``validation`` or ``test``.
        image: Imagery.
        truth: Labels; None if the scene has none.
        prediction_uri: Raster of predicted class ids, written by the step ``predict``; for other
            tasks the GeoJSON file of the predicted cells or boxes. None if there are only scores,
            of which the largest one decides.
        prediction_transformers: How its values become class ids, as the transformers of a label
            raster, for example if it contains class colors.
        aoi_uris: GeoJSON files of the areas of interest; empty means the whole scene.
        task: Raster Vision's name of the task, such as ``semantic_segmentation``.
        scores_uri: Raster of class scores, one band per class, if the step ``predict`` wrote it.
    """

    id: str
    group: str
    image: RasterSource
    truth: RasterSource | VectorSource | BoxSource | None
    prediction_uri: str | None
    prediction_transformers: tuple[Mapping[str, Any], ...] = ()
    aoi_uris: tuple[str, ...] = ()
    task: str = "semantic_segmentation"
    scores_uri: str | None = None


@dataclass(frozen=True)
class RunSource:
    """A run with the classes and scenes of its config, or the error that prevented reading it.

    Args:
        run: Run id.
        uri: Address of the run.
        classes: Classes with their colors.
        scenes: Scenes; if a prediction has a COG copy, the scene refers to the copy.
        config: ``pipeline-config.json``.
        error: Error if the config could not be read.
        group: Preferred scene group if several scenes have the same id, as in `find_scene`.
    """

    run: str
    uri: str
    classes: Classes = NO_CLASSES
    scenes: tuple[Scene, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    error: RvlabError | None = None
    group: str | None = None

    def in_group(self, group: str) -> list[Scene]:
        """Return the scenes of a group: train, validation, test, or one of the config's own."""
        if group in SCENE_GROUPS:
            return [scene for scene in self.scenes if scene.group == group]
        members = set(custom_groups(self.config).get(group, ()))
        return [scene for scene in self.scenes if scene.id in members]

    def scene(self, name: str) -> Scene | None:
        """Return the scene with that id; None if the run does not have it."""
        found = [scene for scene in self.scenes if scene.id == name]
        return find_scene(name, found, self.group) if found else None


def scenes_from_config(config: Mapping[str, Any], home: Store | None = None) -> list[Scene]:
    """Return the scenes of a run, in the order of its config: train, validation, test.

    A source that rvlab cannot read raises no error: its `unsupported` gives the reason.

    Args:
        config: ``pipeline-config.json``.
        home: Store that the config was read from; its addresses are restricted to those that
            `rvlab.store.addresses` allows. None trusts the config, as in a step.

    Raises:
        RecordBroken: If the config is malformed.
    """
    data = config.get("dataset", {})

    def address(uri: Any) -> str:
        uri = str(uri) if isinstance(uri, PurePath) else uri  # in a config built in Python
        if not isinstance(uri, str) or not uri:
            raise TypeError(f"{uri!r:.100} is not an address")
        return uri if home is None else mark_if_refused(uri, home)

    task = task_of_config(config)
    folder = config.get("predict_uri") or f"{config.get('root_uri')}/predict"
    try:
        classes = data.get("class_config")
        return [
            _scene(part, group, task, f"{folder}/{part['id']}", address, class_config=classes)
            for group in SCENE_GROUPS
            for part in data.get(f"{group}_scenes") or []
        ]
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as exc:
        raise RecordBroken(f"pipeline-config.json has a malformed scene: {exc!r:.300}.") from exc


def task_of_config(config: Mapping[str, Any]) -> str:
    """Return Raster Vision's name of the task of a config, such as ``object_detection``."""
    return str(config.get("type_hint", "semantic_segmentation_config")).removesuffix("_config")


def custom_groups(config: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the scene ids of each group that a config defines besides Raster Vision's three."""
    data = config.get("dataset")
    groups = data.get("scene_groups") if isinstance(data, Mapping) else None
    return {
        str(name): tuple(map(str, ids))
        for name, ids in (groups.items() if isinstance(groups, Mapping) else ())
        if str(name).removesuffix("_scenes") not in SCENE_GROUPS and isinstance(ids, list | tuple)
    }


def find_scene(name: str, known: Sequence[Scene], group: str | None = None) -> Scene:
    """Return the scene with an id.

    Args:
        name: Scene id.
        known: Scenes to search.
        group: Preferred group if several scenes have that id, as when one image is split by areas
            of interest. Without it, or without such a scene, the order is validation, test, train,
            since training scenes are not predicted.

    Raises:
        NotFound: If no scene has the id; the message suggests the nearest.
    """
    found = [scene for scene in known if scene.id == name]
    if not found:
        raise NotFound(f"Unknown scene {name!r}. {did_you_mean(name, [s.id for s in known])}")
    return min(found, key=lambda scene: scene_priority(scene, group))


def scene_priority(scene: Scene, group: str | None = None) -> tuple[bool, bool, bool]:
    """Return a sort key of scenes with one id: first `group`, then validation, test, train."""
    return scene.group != group, scene.group == "train", scene.group != "validation"


def load_run_source(run: str, uri: str, group: str | None = None) -> RunSource:
    """Read a run's config and list its COG copies; return an error instead of raising it.

    Args:
        run: Run id.
        uri: Address of the run.
        group: Preferred scene group if several scenes have the same id.
    """
    with ThreadPoolExecutor(2) as pool:
        (found,) = load_run_sources([(run, uri)], pool, group)
    return found


def load_run_sources(
    runs: Iterable[tuple[str, str]], pool: Executor, group: str | None = None
) -> list[RunSource]:
    """Read and list in a pool what `load_run_source` returns for each run.

    Args:
        runs: Id and address of each run.
        pool: Executes the requests of all runs, in the order of their submission.
        group: As for `load_run_source`.
    """
    requests = [
        (run, uri, pool.submit(_read_config, uri), pool.submit(_list_copies, uri))
        for run, uri in runs
    ]
    # Submitted after the requests that they wait for, so that the pool cannot deadlock.
    found = [
        pool.submit(_run_source, run, uri, group, config, copies)
        for run, uri, config, copies in requests
    ]
    return [one.result() for one in found]


def _read_config(uri: str) -> dict[str, Any]:
    return rv_outputs.read_rv_config(store_for_uri(uri), Run.from_uri(uri))


def _list_copies(uri: str) -> set[str]:
    """Return the names of a run's COG copies below their folder."""
    home = store_for_uri(uri)
    folder = rv_outputs.key_below(home, Run.from_uri(uri).uri, rv_outputs.COPIES_FOLDER)
    return {key[len(folder) + 1 :] for key, _ in home.files(folder)}


def _run_source(
    run: str,
    uri: str,
    group: str | None,
    config_read: Future[dict[str, Any]],
    copies_listed: Future[set[str]],
) -> RunSource:
    try:
        config, copies = config_read.result(), copies_listed.result()
        scenes = scenes_from_config(config, store_for_uri(uri))
        found = tuple(use_copies(scene, uri, copies) for scene in scenes)
        return RunSource(run, uri, classes_from_config(config), found, config, group=group)
    except RvlabError as exc:
        return RunSource(run, uri, error=exc, group=group)


def source_by_scene(sources: Sequence[RunSource]) -> dict[str, RunSource]:
    """Map each scene id to the first run that has it, preferring runs that predicted it.

    If the sources have a `group`, runs with the scene in this group come first.
    """
    pairs = [(scene, one) for one in sources for scene in one.scenes]
    out: dict[str, RunSource] = {}
    for scene, one in sorted(pairs, key=lambda pair: scene_priority(pair[0], pair[1].group)):
        out.setdefault(scene.id, one)
    return out


def default_group(sources: Sequence[RunSource]) -> str:
    """Return ``validation``, or ``test`` if only that has scenes, as in a prediction."""
    groups = {scene.group for one in sources for scene in one.scenes}
    return "test" if "test" in groups and "validation" not in groups else "validation"


def require_group(group: str, sources: Sequence[RunSource]) -> None:
    """Require that a group is one of Raster Vision's, or that a run defines it.

    Raises:
        NotFound: If no run has it.
    """
    known = {*SCENE_GROUPS, *(name for one in sources for name in custom_groups(one.config))}
    if group not in known:
        raise NotFound(f"Unknown group {group!r}. {did_you_mean(group, known)}")


def use_copies(scene: Scene, run_uri: str, copies: Sequence[str] | set[str]) -> Scene:
    """Replace the addresses of a scene's prediction by those of its COG copies, if they exist.

    Args:
        scene: As `rvlab.raster.scenes_from_config` returns it.
        run_uri: Address of the run.
        copies: Names below the run's folder ``copies``, such as ``town-1/labels.tif``.
    """
    where = f"{run_uri.rstrip('/')}/{rv_outputs.COPIES_FOLDER}"
    labels, scores = (f"{scene.id}/{name}.tif" for name in ("labels", "scores"))
    if labels in copies:  # a copy contains class ids even if the prediction contains colors
        scene = replace(scene, prediction_uri=f"{where}/{labels}", prediction_transformers=())
    if scores in copies:
        scene = replace(scene, scores_uri=f"{where}/{scores}")
    return scene


def _scene(
    part: Mapping[str, Any],
    group: str,
    task: str,
    folder: str,
    address: Address,
    *,
    class_config: Any,
) -> Scene:
    scene = Scene(
        id=str(part["id"]),
        group=group,
        image=parse_raster_source(part["raster_source"], address),
        truth=parse_truth_source(part.get("label_source"), address),
        prediction_uri=None,
        aoi_uris=parse_addresses(part.get("aoi_uris"), address),
        task=task,
    )
    label_store = part.get("label_store") or {}
    if label_store.get("type_hint") == FILES_STORE:
        labels, scores = (label_store.get(name) for name in ("labels_uri", "scores_uri"))
        return replace(
            scene,
            prediction_uri=labels and address(labels),
            prediction_transformers=parse_transformers(label_store),
            scores_uri=scores and address(scores),
        )
    is_raster = task == "semantic_segmentation"
    uri = label_store.get("uri") or (folder if is_raster else f"{folder}.json")
    uri = address(uri).rstrip("/")
    colors = {"type_hint": "rgb_class_transformer", "class_config": class_config}
    return replace(
        scene,
        # Raster Vision 0.12 wrote predict/{scene}.tif.
        prediction_uri=f"{uri}/labels.tif" if is_raster and not uri.endswith(".tif") else uri,
        prediction_transformers=(colors,) if label_store.get("rgb") else (),
        scores_uri=f"{uri}/scores.tif" if is_raster and label_store.get("smooth_output") else None,
    )
