"""The notebook's one object: it remembers addresses and holds no data."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rvlab import frame
from rvlab.engines import Engine, engine_named
from rvlab.engines.submission import Asked, me, prepare
from rvlab.errors import EngineError, HasEnded, NotFound, SpecError
from rvlab.frame.select import picked, run_named
from rvlab.model import ENDED, STEPS, Run, new_id
from rvlab.recipes import find
from rvlab.store import S3Access, Store, remember

if TYPE_CHECKING:
    import pandas as pd

    from rvlab.recipes.source import Ref

    Picked = pd.DataFrame | pd.Series | Run | str | Iterable[Run | str] | None

EMBEDDED = "embedded"


class Lab:
    """Where runs are stored and where they run.

    Args:
        store: A local folder, ``s3://bucket/prefix`` (reached as the standard AWS variables say),
            or ``"embedded"``, an S3 server of rvlab's own on this machine, with its data in
            ``"embedded:FOLDER"`` if one is named. By default ``$RVLAB_STORE``, else ``"embedded"``.
        engine: ``"local"``, or an engine such as ``LocalEngine(at_most=2)``.
    """

    def __init__(self, store: str | Path | None = None, engine: str | Engine = "local") -> None:
        self.engine = engine_named(engine)
        self.store = remember(_store(store))

    def __repr__(self) -> str:
        return f"Lab(store={self.store.uri!r}, engine={self.engine.name!r})"

    @property
    def storage_options(self) -> dict[str, object]:
        """For ``pd.read_parquet(uri, storage_options=…)`` and ``fsspec.open``; holds the secret."""
        return self.store.storage_options

    def submit(
        self,
        recipe: Ref,
        *,
        experiment: str = "default",
        splits: int = 1,
        seed: int | None = None,
        params: Mapping[str, Any] | None = None,
        **named: Any,
    ) -> Run:
        """Start one run and return at once.

        Args:
            recipe: A shipped name, a path, a module or a ``get_config`` function.
            experiment: The experiment it belongs to.
            splits: Into how many pieces chip and predict are cut, at most.
            seed: Two runs with the same seed and parameters give the same weights on a CPU. None is
                the default of the recipe's own parameter ``seed`` if it has one, else 0.
            params: Parameters of the recipe whose names this call uses itself.
            **named: Parameters of the recipe.

        Raises:
            SpecError: For a wrong recipe, name, type or value; nothing has been started.
            StoreError: If the store cannot be written.
        """
        point = {**(params or {}), **named}
        asked = Asked(experiment, self.engine.name, splits, seed)
        return self._start(recipe, [point], asked)[0]

    def sweep(
        self,
        recipe: Ref,
        points: Sequence[Mapping[str, Any]],
        *,
        experiment: str = "default",
        splits: int = 1,
        seed: int | None = None,
        **fixed: Any,
    ) -> list[Run]:
        """Start a run for each point and return at once; one bad point, and none is started.

        Args:
            recipe: As for `submit`.
            points: Parameters of each run, as ``rvlab.grid(lr=[1e-3, 1e-2], epochs=[4, 8])`` gives
                them; ``seed`` among them is the run's seed.
            experiment: The experiment they belong to.
            splits: As for `submit`.
            seed: The seed of points that have none.
            **fixed: Parameters that all points share.

        Raises:
            SpecError: For a wrong recipe, point or value; nothing has been started.
            StoreError: If the store cannot be written.
        """
        if not points:
            raise SpecError("The sweep has no points. Give it one or more, as from rvlab.grid().")
        for point in points:
            twice = sorted(set(point) & set(fixed))
            if twice:
                raise SpecError(f"{twice[0]!r} is given for the sweep and in its points. Keep one.")
        asked = Asked(experiment, self.engine.name, splits, seed, sweep=new_id())
        return self._start(recipe, [{**fixed, **point} for point in points], asked)

    def _start(self, recipe: Ref, points: Sequence[Mapping[str, Any]], asked: Asked) -> list[Run]:
        found = find(recipe)
        runs = prepare(self.store, found, points, asked)
        self.engine.start(self.store, runs, folder=found.folder)
        return runs

    def wait(
        self, runs: Picked = None, *, timeout_s: float | None = None, progress: bool = True
    ) -> pd.DataFrame:
        """Wait until runs have ended, with a progress bar.

        Interrupting the wait stops no run.

        Args:
            runs: Which; by default all runs of the store.
            timeout_s: Give up waiting after this many seconds; None waits for as long as it takes.
            progress: Show the bar.

        Returns:
            The table of these runs.

        Raises:
            TimeoutError: If they have not ended in time; they go on.
        """
        from tqdm.auto import tqdm

        wanted = picked(self.store, runs)
        until = None if timeout_s is None else time.monotonic() + timeout_s
        self.engine.nudge(self.store)
        with tqdm(total=len(wanted), unit="run", disable=not progress) as bar:
            going = self._going(wanted)
            while True:
                bar.n = len(wanted) - len(going)
                bar.set_postfix_str(_told(going))
                if going.empty:
                    return self.runs(wanted)
                if until is not None and time.monotonic() > until:
                    raise TimeoutError(
                        f"{len(going)} of {len(wanted)} runs have not ended in {timeout_s} s. "
                        "They go on; wait again, or cancel them."
                    )
                self.engine.nudge(self.store)
                time.sleep(1.0)
                going = self._going(going)

    def run(self, name: str) -> Run:
        """A run by its id, by ``experiment/id`` or by its URI.

        Raises:
            NotFound: If there is no such run.
        """
        return run_named(self.store, name)

    def runs(self, runs: Picked = None) -> pd.DataFrame:
        """The table of runs: one row per run, parameters and metrics joined.

        Args:
            runs: An experiment's name, a run, a table or several of these; None for all.

        Returns:
            Index ``run``; state, times and addresses, then ``params.*``, then ``metrics.*``. See
            `rvlab.frame.runs.runs`.

        Raises:
            NotFound: If there is no such experiment or run.
            StoreUnreachable: If nobody answers at the store's address.
        """
        return frame.runs(self.store, picked(self.store, runs), self._ask)

    def evals(self, runs: Picked = None) -> pd.DataFrame:
        """The evaluations, long: ``run group scene class metric value``."""
        return frame.evals(self.store, picked(self.store, runs))

    def confusion(self, runs: Picked = None) -> pd.DataFrame:
        """The confusion matrices, long: ``run group scene truth prediction count``."""
        return frame.confusion(self.store, picked(self.store, runs))

    def history(self, runs: Picked = None) -> pd.DataFrame:
        """One row per run and epoch, of runs that are still training too."""
        return frame.history(self.store, picked(self.store, runs))

    def artifacts(self, runs: Picked = None) -> pd.DataFrame:
        """The files that runs left: ``run step kind scene uri bytes``."""
        return frame.artifacts(self.store, picked(self.store, runs))

    def steps(self, runs: Picked = None) -> pd.DataFrame:
        """The steps of runs with their times, peak memory and processor time, one row each."""
        return frame.steps(self.store, picked(self.store, runs))

    def logs(self, run: Run | str, step: str | None = None) -> str:
        """What the steps of a run printed, in order; a heartbeat old while it runs.

        Args:
            run: The run, or its id.
            step: One step, such as ``"train"`` or ``"predict-0"``; None for all.

        Raises:
            NotFound: If there is no such run, or the step has not printed anything.
        """
        one = run if isinstance(run, Run) else self.run(run)
        start = len(one.key("logs")) + 1
        names = [key[start:].removesuffix(".log") for key, _ in self.store.files(one.key("logs"))]
        names.sort(key=_in_order)
        shown = [n for n in names if step is None or n == step or n.rpartition("-")[0] == step]
        if step is not None and not shown:
            raise NotFound(
                f"The run {one.id} has no log of {step!r}. "
                f"Those it has: {', '.join(names) or 'none yet'}."
            )
        parts = [
            self.store.get(one.key("logs", f"{n}.log")).decode(errors="replace") for n in shown
        ]
        if len(shown) == 1:
            return parts[0]
        return "\n".join(f"── {n} ──\n{text}" for n, text in zip(shown, parts, strict=True))

    def cancel(self, runs: Picked) -> None:
        """End runs that wait or run, with all their processes; those that have ended stay.

        Args:
            runs: Which; naming none is refused, so that nobody ends all by mistake.

        Raises:
            HasEnded: If all of them have ended already.
            EngineError: If one of them cannot be ended.
        """
        if runs is None:
            raise SpecError("cancel needs to know which runs. Name them, or their experiment.")
        wanted = picked(self.store, runs)
        troubles: list[EngineError] = []
        for run in wanted:
            try:
                self.engine.cancel(self.store, run)
            except EngineError as exc:
                troubles.append(exc)
        ended = [exc for exc in troubles if isinstance(exc, HasEnded)]
        if len(troubles) > len(ended) or (ended and len(ended) == len(wanted)):
            raise next((exc for exc in troubles if exc not in ended), troubles[0])

    def _going(self, runs: Picked) -> pd.DataFrame:
        table = self.runs(runs)
        return table[~table["state"].isin((*ENDED, "lost", "broken"))]

    def _ask(self, rows: Sequence[Mapping[str, Any]]) -> Mapping[Run, str]:
        """The engine knows of the runs that were submitted to it from here, and of no others."""
        mine = [r["_run"] for r in rows if (r["engine"], r["user"]) == (self.engine.name, me())]
        return self.engine.states(self.store, mine) if mine else {}


def store_text(store: str | Path | None) -> str:
    """What names the store: the argument, else ``$RVLAB_STORE``, else the embedded server."""
    return str(store or os.environ.get("RVLAB_STORE") or EMBEDDED)


def _store(store: str | Path | None) -> Store:
    kind, _, folder = store_text(store).partition(":")
    if kind != EMBEDDED:
        return Store(store_text(store))
    from rvlab.store import server

    found = server.start(folder or None)
    access = S3Access(found.endpoint, found.access_key, found.secret_key, region=found.region)
    return Store(f"s3://{found.bucket}", access)


def _told(table: pd.DataFrame) -> str:
    counts = table["state"].value_counts()
    steps = table.loc[table["state"] == "running", "step"].value_counts()
    parts = [f"{n} {state}" for state, n in counts.items()]
    return ", ".join(parts) + (f" ({', '.join(str(s) for s in steps.index)})" if len(steps) else "")


def _in_order(name: str) -> tuple[int, int]:
    step, _, split = name.partition("-")
    return (STEPS.index(step) if step in STEPS else len(STEPS), int(split or 0))
