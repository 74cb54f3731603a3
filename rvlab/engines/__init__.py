"""Where runs run: an engine starts and stops them, and is asked when the store is silent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rvlab.engines.local import LocalEngine
from rvlab.errors import SpecError, did_you_mean
from rvlab.model import Run
from rvlab.store import Store

ENGINES = {"local": LocalEngine}


class Engine(Protocol):
    """What every engine does; ``tests/contracts`` holds each to it."""

    @property
    def name(self) -> str:
        """Its name in the table of runs."""

    def start(self, store: Store, runs: Sequence[Run], *, folder: str | None = None) -> None:
        """Start runs whose records are in the store, and return at once.

        Args:
            store: Where their records are.
            runs: The runs.
            folder: The recipe's own folder, where it may have other files.
        """

    def nudge(self, store: Store) -> None:
        """Go on with what an interruption has left behind."""

    def states(self, store: Store, runs: Sequence[Run]) -> dict[Run, str]:
        """The states of runs of which the store says nothing."""

    def cancel(self, store: Store, run: Run) -> None:
        """End a run; HasEnded if it has ended already."""


def engine_named(engine: str | Engine) -> Engine:
    """An engine by its name; an engine is itself."""
    if not isinstance(engine, str):
        return engine
    if engine not in ENGINES:
        raise SpecError(f"There is no engine {engine!r}. {did_you_mean(engine, ENGINES)}")
    return ENGINES[engine]()


__all__ = ["ENGINES", "Engine", "LocalEngine", "engine_named"]
