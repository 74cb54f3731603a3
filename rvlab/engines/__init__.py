"""Engines: where runs execute; an engine starts, stops and retries them and reports their state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rvlab.engines.local import LocalEngine
from rvlab.errors import RvlabError, SpecError, did_you_mean
from rvlab.model import ReportedState, Run
from rvlab.model.check_result import CheckResult
from rvlab.recipes import Recipe
from rvlab.store import Store

ENGINES = ("local", "kubeflow", "rehearse")


class Engine(Protocol):
    """The interface of every engine; tested in ``tests/contracts``."""

    @property
    def name(self) -> str:
        """The engine's name in the table of runs."""

    @property
    def sees_all_runs(self) -> bool:
        """Whether it sees runs that were submitted from other machines."""

    @property
    def image(self) -> str | None:
        """The container image of its runs."""

    def validate(self, store: Store, recipe: Recipe, points: Sequence[Mapping[str, Any]]) -> None:
        """Raise if this engine cannot run the points; called before any record is written.

        Raises:
            SpecError: If its runs cannot write to the store, or it does not support the recipe or a
                point.
            EngineError: If the engine cannot be reached, or refuses.
        """

    def check(self, store: Store) -> list[CheckResult]:
        """Check that runs of a store can be started; raise nothing."""

    def start(self, store: Store, runs: Sequence[Run], *, folder: str | None = None) -> list[Run]:
        """Start runs whose records are in the store, and return at once.

        Args:
            store: The store of their records.
            runs: The runs.
            folder: The recipe's own folder, which may contain other files.

        Returns:
            The runs, with links to their pages if the engine has any.
        """

    def resume(self, store: Store) -> None:
        """Continue work that an interruption has left in the queue."""

    def states(self, store: Store, runs: Sequence[Run]) -> dict[Run, ReportedState]:
        """Return the states of runs for which the store has no end record, with their reasons."""

    def retry(self, store: Store, run: Run, *, folder: str | None = None) -> None:
        """Start a failed run again and repeat as few steps as the engine can."""

    def cancel(self, store: Store, run: Run) -> None:
        """Cancel a run; HasEnded if it has ended already, by the store or the engine."""

    def cancel_many(self, store: Store, runs: Sequence[Run]) -> dict[Run, RvlabError]:
        """Cancel runs; return an error, such as HasEnded, for each that was not cancelled."""


def resolve_engine(engine: str | Engine, profile: str | None = None) -> Engine:
    """Return an engine by name; an engine object is returned as it is.

    Args:
        engine: One of `ENGINES`, or an engine.
        profile: The profile of ``rvlab.toml`` for the engine's cluster; see `rvlab.settings`.

    Raises:
        SpecError: If there is no such engine, or it has no profiles.
    """
    if not isinstance(engine, str):
        if not hasattr(engine, "start"):
            raise SpecError(f"{engine!r} is not an engine. Use one of {', '.join(ENGINES)}.")
        if profile is not None:
            raise SpecError(f"{engine!r} has its profile already. Omit profile={profile!r}.")
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
        raise SpecError(f"The local engine has no profiles. Omit profile={profile!r}.")
    raise SpecError(f"Unknown engine {engine!r}. {did_you_mean(engine, ENGINES)}")


__all__ = ["ENGINES", "Engine", "LocalEngine", "resolve_engine"]
