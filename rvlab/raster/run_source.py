"""A run as its rasters see it: its classes, and where each scene's files lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from rvlab import store
from rvlab.errors import RvlabError
from rvlab.model import Run
from rvlab.raster.labels import SceneLabels
from rvlab.raster.scene import (
    Classes,
    Scene,
    classes_from_config,
    find_scene,
    scene_priority,
    scenes_from_config,
)
from rvlab.store import outputs

NO_CLASSES = Classes((), ())


@dataclass(frozen=True)
class RunSource:
    """A run and what its config says; `error` says why it says nothing.

    Args:
        run: Its id.
        uri: Its address.
        classes: Its classes, with their colors.
        scenes: Its scenes; those of which there is a copy name the copy as their prediction.
        config: ``pipeline-config.json``.
        error: Why there are none.
        group: Whose scene is meant where several have the same id, as in `find_scene`.
    """

    run: str
    uri: str
    classes: Classes = NO_CLASSES
    scenes: tuple[Scene, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    error: RvlabError | None = None
    group: str | None = None

    def scene(self, name: str) -> Scene | None:
        """Its scene of that id."""
        found = [scene for scene in self.scenes if scene.id == name]
        return find_scene(name, found, self.group) if found else None

    def labels(self, name: str) -> SceneLabels:
        """The labels of a scene that it has.

        Raises:
            NotFound: If it has no such scene.
        """
        return SceneLabels(find_scene(name, self.scenes, self.group), self.classes)


def load_run_source(run: str, uri: str, group: str | None = None) -> RunSource:
    """Read a run's config and see which copies it has; an error is kept, not raised.

    Args:
        run: Its id.
        uri: Its address.
        group: Whose scene is meant where several have the same id.
    """
    try:
        where, one = store.store_for_uri(uri), Run.from_uri(uri)
        folder = outputs.key_below(where, one.uri, outputs.COPIES_FOLDER)
        with ThreadPoolExecutor(1) as beside:  # two answers to wait for, both at once
            listing = beside.submit(where.files, folder)
            config = outputs.read_config(where, one)
        copies = {key[len(folder) + 1 :] for key, _ in listing.result()}
        found = tuple(use_copies(scene, uri, copies) for scene in scenes_from_config(config, where))
        return RunSource(run, uri, classes_from_config(config), found, config, group=group)
    except RvlabError as exc:
        return RunSource(run, uri, error=exc, group=group)


def source_by_scene(sources: Sequence[RunSource]) -> dict[str, RunSource]:
    """The run that shows each scene: the first that has it, of those that have it predicted.

    Where the runs were told a group, one that has the scene in this group comes before the others.
    """
    pairs = [(scene, one) for one in sources for scene in one.scenes]
    out: dict[str, RunSource] = {}
    for scene, one in sorted(pairs, key=lambda pair: scene_priority(pair[0], pair[1].group)):
        out.setdefault(scene.id, one)
    return out


def use_copies(scene: Scene, run_uri: str, copies: Sequence[str] | set[str]) -> Scene:
    """A scene that names the copies of its prediction where there are such.

    Args:
        scene: As `rvlab.raster.scenes_from_config` returns it.
        run_uri: Of its run.
        copies: Names below the run's folder ``copies``, such as ``town-1/labels.tif``.
    """
    where = f"{run_uri.rstrip('/')}/{outputs.COPIES_FOLDER}"
    labels, scores = (f"{scene.id}/{name}.tif" for name in ("labels", "scores"))
    if labels in copies:  # it holds class ids, whatever the prediction itself holds
        scene = replace(scene, prediction_uri=f"{where}/{labels}", prediction_rgb=False)
    if scores in copies:
        scene = replace(scene, scores_uri=f"{where}/{scores}")
    return scene
