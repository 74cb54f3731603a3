"""The classes and scenes of a run, with the addresses of each scene's files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from rvlab import store
from rvlab.errors import NotFound, RvlabError, did_you_mean
from rvlab.model import Run
from rvlab.raster.labels import SceneLabels
from rvlab.raster.scene import (
    SCENE_GROUPS,
    Classes,
    Scene,
    classes_from_config,
    custom_groups,
    find_scene,
    scene_priority,
    scenes_from_config,
)
from rvlab.store import rv_outputs

NO_CLASSES = Classes((), ())


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

    def labels(self, name: str) -> SceneLabels:
        """Return the labels of a scene.

        Raises:
            NotFound: If the run does not have the scene.
        """
        return SceneLabels(find_scene(name, self.scenes, self.group), self.classes)


def load_run_source(run: str, uri: str, group: str | None = None) -> RunSource:
    """Read a run's config and list its COG copies; return an error instead of raising it.

    Args:
        run: Run id.
        uri: Address of the run.
        group: Preferred scene group if several scenes have the same id.
    """
    try:
        where, one = store.store_for_uri(uri), Run.from_uri(uri)
        folder = rv_outputs.key_below(where, one.uri, rv_outputs.COPIES_FOLDER)
        with ThreadPoolExecutor(1) as pool:  # list and read concurrently
            listing = pool.submit(where.files, folder)
            config = rv_outputs.read_rv_config(where, one)
        copies = {key[len(folder) + 1 :] for key, _ in listing.result()}
        found = tuple(use_copies(scene, uri, copies) for scene in scenes_from_config(config, where))
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
