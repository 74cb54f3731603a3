"""The pipeline that Kubeflow would get, run on this machine by kfp itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rvlab.engines.local import LocalEngine
from rvlab.model import Run
from rvlab.pipeline.start import validate_pipeline
from rvlab.recipes import Recipe
from rvlab.settings import Profile
from rvlab.store import Store
from rvlab.worker.records import CLAIM


@dataclass(frozen=True)
class RehearseEngine(LocalEngine):
    """Compiles the pipeline and runs its very YAML by ``kfp.local``, a process for each run.

    It runs slower than the local engine, since every step loads its libraries anew, as pods do;
    what fails here would fail there, and costs no cluster. There is one way to the bucket here, so
    the profile's endpoint and secret for pods are left out of the YAML.

    Args:
        max_parallel: How many runs at a time; the rest wait, the oldest first.
        docker: Run each step in the profile's image instead of a process of this environment.
        profile: The image and where steps run, as for Kubeflow.
    """

    docker: bool = False
    profile: Profile = field(default_factory=Profile)
    name: str = field(default="rehearse", init=False)

    @property
    def image(self) -> str | None:
        """The image of the steps, in Docker."""
        return self.profile.image if self.docker else None

    @property
    def command(self) -> tuple[str, ...]:
        """The module that a run's process is, and what stands before the run's URI."""
        said = self.profile.model_dump_json(exclude_unset=True)
        how = ("--docker",) if self.docker else ()
        return ("rvlab.engines.kfp_local", "--profile", said, *how)

    def validate(self, store: Store, recipe: Recipe, points: Sequence[Mapping[str, Any]]) -> None:
        """Refuse what no pipeline can take, and runs that cannot be queued on this machine.

        Raises:
            SpecError: If the recipe or a point cannot be.
            EngineError: If the disk of the queue is full, or its folder cannot be written.
        """
        validate_pipeline(recipe, points, store.uri)
        super().validate(store, recipe, points)

    def _reopen(self, store: Store, run: Run) -> None:
        # To kfp the next attempt is another run; it is not to be taken for a clone.
        store.delete([run.key(CLAIM)])
        super()._reopen(store, run)
