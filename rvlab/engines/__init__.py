"""Where runs run: an engine starts and stops them, and is asked when the store is silent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rvlab.engines.local import LocalEngine
from rvlab.errors import RvlabError, SpecError, did_you_mean
from rvlab.model import Run
from rvlab.recipes import Recipe
from rvlab.store import Store

ENGINES = ("local", "kubeflow", "rehearse")


class Engine(Protocol):
    """What every engine does; ``tests/contracts`` holds each to it."""

    @property
    def name(self) -> str:
        """Its name in the table of runs."""

    @property
    def sees_all_runs(self) -> bool:
        """Whether it knows of runs that others have submitted, from other machines."""

    @property
    def image(self) -> str | None:
        """The container image that its runs use."""

    def validate(self, store: Store, recipe: Recipe, points: Sequence[Mapping[str, Any]]) -> None:
        """Refuse what this engine cannot run, before any record is written.

        Raises:
            SpecError: If its runs cannot write to the store, or it cannot take the recipe or a
                point.
            EngineError: If it is not known where the engine is.
        """

    def start(self, store: Store, runs: Sequence[Run], *, folder: str | None = None) -> list[Run]:
        """Start runs whose records are in the store, and return at once.

        Args:
            store: Where their records are.
            runs: The runs.
            folder: The recipe's own folder, where it may have other files.

        Returns:
            The runs, with links to their pages where the engine has such.
        """

    def resume(self, store: Store) -> None:
        """Go on with what an interruption has left behind."""

    def states(self, store: Store, runs: Sequence[Run]) -> dict[Run, str]:
        """The states of runs of which the store says nothing."""

    def retry(self, store: Store, run: Run, *, folder: str | None = None) -> None:
        """Start a run again that failed; as little of it as the engine can."""

    def cancel(self, store: Store, run: Run) -> None:
        """End a run; HasEnded if it has ended already, as the store or the engine has it."""

    def cancel_many(self, store: Store, runs: Sequence[Run]) -> dict[Run, RvlabError]:
        """End runs; return why those that were not cancelled were not, HasEnded among it."""


def resolve_engine(engine: str | Engine, profile: str | None = None) -> Engine:
    """An engine by its name; an engine is itself.

    Args:
        engine: One of `ENGINES`, or an engine.
        profile: The profile of ``rvlab.toml`` that a cluster's engine takes; see `rvlab.settings`.

    Raises:
        SpecError: If there is no such engine, or it takes no profile.
    """
    if not isinstance(engine, str):
        if not hasattr(engine, "start"):
            raise SpecError(f"{engine!r} is no engine. Name one of {', '.join(ENGINES)}.")
        if profile is not None:
            raise SpecError(f"{engine!r} has its profile already. Leave profile={profile!r} out.")
        return engine
    if engine == "local" and profile is None:
        return LocalEngine()
    if engine == "kubeflow":
        from rvlab.engines.kubeflow.engine import KubeflowEngine
        from rvlab.settings import load_profile as found

        return KubeflowEngine(found(profile))
    if engine == "rehearse":
        from rvlab.engines.rehearse import RehearseEngine
        from rvlab.settings import load_profile as found

        return RehearseEngine(profile=found(profile))
    if engine == "local":
        raise SpecError(f"The local engine takes no profile. Leave profile={profile!r} out.")
    raise SpecError(f"There is no engine {engine!r}. {did_you_mean(engine, ENGINES)}")


__all__ = ["ENGINES", "Engine", "LocalEngine", "resolve_engine"]
