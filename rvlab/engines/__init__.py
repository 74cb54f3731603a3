"""Engines: where runs execute; an engine starts, stops and retries them and reports their state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rvlab.engines.local import LocalEngine
from rvlab.engines.registry import engine_names, resolve_engine
from rvlab.errors import RvlabError
from rvlab.model import ReportedState, Run
from rvlab.model.check_result import CheckResult
from rvlab.recipes import Recipe
from rvlab.store import Store


class Engine(Protocol):
    """The interface of every engine; tested in ``tests/contracts``."""

    @property
    def name(self) -> str:
        """The engine's name in the table of runs."""

    @property
    def sees_all_runs(self) -> bool:
        """Whether it sees runs that were submitted from other machines."""

    @property
    def steady_heartbeat(self) -> bool:
        """Whether each run writes heartbeats from its start to its end.

        True if one process executes all steps of a run. Such a run is lost after a minute without a
        heartbeat, and it stops by itself when its cancellation is recorded. False if the engine
        moves or restarts the processes of a run, as a cluster does: the next heartbeat may wait for
        an image, and only the engine can report why a process was terminated. Recorded in the
        run's spec, so that readers need not import the engine.
        """

    @property
    def image(self) -> str | None:
        """The container image of its runs."""

    def validate(self, store: Store, recipe: Recipe, points: Sequence[Mapping[str, Any]]) -> None:
        """Raise if this engine cannot run the points; called before any record is written.

        Raises:
            SpecError: If its runs cannot write to the store, or it does not support the recipe or a
                point.
            EngineError: If the engine cannot be reached, or refuses the request.
        """

    def check(self, store: Store) -> list[CheckResult]:
        """Check that runs of a store can be started; return problems, never raise."""

    def start(self, store: Store, runs: Sequence[Run], *, folder: str | None = None) -> list[Run]:
        """Start runs whose records are in the store, and return at once.

        An engine whose class attribute ``has_priorities`` is True also has an argument
        ``priority``, which is passed if it is not 0. Other engines never get runs with a priority.

        Args:
            store: The store of their records.
            runs: The runs.
            folder: The recipe's own folder, which may contain files that the recipe uses.

        Returns:
            The runs, with links to their pages if the engine has any.
        """

    def resume(self, store: Store) -> None:
        """Start what is still queued, such as after a restart of the machine."""

    def states(self, store: Store, runs: Sequence[Run]) -> dict[Run, ReportedState]:
        """Return the states of runs for which the store has no end record, with their reasons."""

    def retry(self, store: Store, run: Run, *, folder: str | None = None) -> None:
        """Start a failed run again and repeat as few steps as the engine can."""

    def cancel(self, store: Store, run: Run) -> None:
        """Cancel a run; raise `HasEnded` if the store or the engine reports that it has ended."""

    def cancel_many(self, store: Store, runs: Sequence[Run]) -> dict[Run, RvlabError]:
        """Cancel runs; return an error, such as `HasEnded`, for each run that was not cancelled."""


__all__ = ["Engine", "LocalEngine", "engine_names", "resolve_engine"]
