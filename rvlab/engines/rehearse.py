"""The rehearsal engine: the pipeline for Kubeflow, executed on this machine by kfp itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rvlab.engines.extras import require_extra
from rvlab.engines.local import LocalEngine
from rvlab.model import Run
from rvlab.pipeline.start import validate_pipeline
from rvlab.recipes import Recipe
from rvlab.settings import Profile, load_profile
from rvlab.store import Store
from rvlab.worker.records import CLAIM


@dataclass(frozen=True)
class RehearseEngine(LocalEngine):
    """Compiles the pipeline and runs its YAML with ``kfp.local``, one process per run.

    It is slower than the local engine, because every step imports its libraries again, as pods do.
    A pipeline that fails here would fail on a cluster. Here the steps use the bucket's
    endpoint of this machine, so the YAML omits the profile's endpoint and secret for pods.

    Args:
        max_parallel: Maximum number of concurrent runs; the rest wait. Runs with the highest
            priority start first; of equal priority, the oldest.
        docker: Whether each step runs in the profile's image instead of in this environment.
        profile: The image and the resources of the steps, as for Kubeflow.
    """

    docker: bool = False
    profile: Profile = field(default_factory=Profile)
    name: str = field(default="rehearse", init=False)

    @classmethod
    def from_profile(cls, profile: str | None) -> RehearseEngine:
        """Return an engine for a profile of ``rvlab.toml``; see `rvlab.settings.load_profile`."""
        return cls(profile=load_profile(profile))

    @property
    def image(self) -> str | None:
        """The image of the steps, with Docker."""
        return self.profile.image if self.docker else None

    @property
    def command(self) -> tuple[str, ...]:
        """The module that a run's process executes, and the arguments before the run's URI."""
        settings = self.profile.model_dump_json(exclude_unset=True)
        options = ("--docker",) if self.docker else ()
        return ("rvlab.engines.kfp_local", "--profile", settings, *options)

    def require_packages(self) -> None:
        """Raise if kfp, or without Docker a package of the steps, is not installed.

        Raises:
            MissingExtra: With the command that installs it.
        """
        require_extra("kubeflow", "A rehearsal")
        if not self.docker:
            super().require_packages()

    def validate(self, store: Store, recipe: Recipe, points: Sequence[Mapping[str, Any]]) -> None:
        """Raise if a pipeline cannot run the points, or this machine cannot queue them.

        Raises:
            MissingExtra: If a package that it needs is not installed.
            SpecError: If a pipeline does not support the recipe or a point.
            EngineError: If the disk of the queue is full, or its folder cannot be written.
        """
        self.require_packages()
        validate_pipeline(recipe, points, store.uri)
        super().validate(store, recipe, points)

    def _reopen(self, store: Store, run: Run) -> None:
        # kfp gives the next attempt another id. With the old claim, it would be recorded as a
        # clone.
        store.delete([run.key(CLAIM)])
        super()._reopen(store, run)
