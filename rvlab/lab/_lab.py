"""What `rvlab.Lab` is, and the part of it that starts runs and waits for them."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rvlab.errors import HasEnded, SpecError, StoreUnreachable
from rvlab.frame.select import Picked, one_present, picked, present
from rvlab.lab._edits import Edits
from rvlab.lab._exchange import Exchange
from rvlab.lab._looks import Looks
from rvlab.model import ENDED, SILENT_S, Run, new_id
from rvlab.recipes import find
from rvlab.repeat import recorded, repeated
from rvlab.store.patience import duration_text, patience_s
from rvlab.submission import Asked, prepare

if TYPE_CHECKING:
    import pandas as pd

    from rvlab.recipes import Recipe
    from rvlab.recipes.source import Ref


class Lab(Looks, Edits, Exchange):
    """Where runs are stored and where they run.

    Args:
        store: A local folder, ``s3://bucket/prefix`` (reached as the standard AWS variables say),
            or ``"embedded"``, an S3 server of rvlab's own on this machine, with its data in
            ``"embedded:FOLDER"`` if one is named. By default ``$RVLAB_STORE``, else ``"embedded"``.
        engine: ``"local"``, ``"kubeflow"``, ``"rehearse"`` (Kubeflow's pipeline, run here), or
            an engine such as ``LocalEngine(at_most=2)``.
        profile: The profile of ``rvlab.toml`` that says which cluster, image and bucket; by default
            ``$RVLAB_PROFILE``, else the only one or the one named ``default``.
    """

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
        asked = Asked(experiment, self.engine.name, splits, seed, image=self.engine.image)
        return self._start(find(recipe), [point], asked)[0]

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
        if not isinstance(points, Sequence) or not all(isinstance(p, Mapping) for p in points):
            raise SpecError("The points of a sweep are a list of dicts, as rvlab.grid() gives it.")
        if not points:
            raise SpecError("The sweep has no points. Give it one or more, as from rvlab.grid().")
        for point in points:
            twice = sorted(set(point) & set(fixed))
            if twice:
                raise SpecError(f"{twice[0]!r} is given for the sweep and in its points. Keep one.")
        asked = Asked(
            experiment,
            self.engine.name,
            splits,
            seed,
            sweep=new_id(),
            image=self.engine.image,
        )
        return self._start(find(recipe), [{**fixed, **point} for point in points], asked)

    def clone(
        self,
        run: Picked,
        *,
        experiment: str | None = None,
        splits: int | None = None,
        seed: int | None = None,
        params: Mapping[str, Any] | None = None,
        **named: Any,
    ) -> Run:
        """Start a run again with what is given changed, and return at once.

        The recipe is the one that was recorded, whatever has become of its file since. What it
        imports from beside its file is found if that folder is on this machine.

        Args:
            run: One run, or its row of the table; it becomes the parent of the new one.
            experiment: Where the new run goes; None is where the run is.
            splits: As for `submit`; None is the run's.
            seed: As for `submit`; None is the run's.
            params: Parameters of the recipe whose names this call uses itself.
            **named: Parameters of the recipe to change, and ``data_uri`` if it takes one.

        Raises:
            SpecError: For several runs, a run without a recorded recipe, or a wrong name, type or
                value; nothing has been started.
            NotFound: If there is no such run.
            StoreError: If the store cannot be written.
        """
        parent = one_present(self.store, run, "clone")
        recipe, point, asked = repeated(
            self.store,
            parent,
            {**(params or {}), **named},
            engine=self.engine.name,
            experiment=experiment,
            splits=splits,
            seed=seed,
        )
        return self._start(recipe, [point], replace(asked, image=self.engine.image))[0]

    def retry(self, runs: Picked) -> None:
        """Start runs again that failed, were lost, or were never handed to their engine.

        They stay the runs they are. Kubeflow goes on where they failed; on this machine their steps
        are run anew. A run that was cancelled, or that succeeded, is repeated by `clone`.

        Args:
            runs: Which; naming none is refused.

        Raises:
            SpecError: If one of them has succeeded, was cancelled, runs, or is another engine's;
                none is started then.
            EngineError: If one cannot be started.
        """
        if runs is None:
            raise SpecError("retry needs to know which runs. Name them, or their experiment.")
        table = self.runs(present(self.store, runs))
        for run, row in table.iterrows():
            if row["state"] != "broken" and row["engine"] != self.engine.name:
                raise SpecError(
                    f"The run {run} is the engine {row['engine']!r}'s. Open the lab with it."
                )
            if row["state"] not in ("failed", "lost", "queued"):
                raise SpecError(
                    f"The run {run} is {row['state']}, so there is nothing to retry. "
                    "lab.clone makes a new run of it."
                )
        for uri in table["uri"]:
            run = Run.from_uri(uri)
            folder = recorded(self.store, run)[1].folder
            self.engine.retry(self.store, run, folder=folder)

    def _start(
        self, recipe: Recipe, points: Sequence[Mapping[str, Any]], asked: Asked
    ) -> list[Run]:
        self._patience_s()  # a wrong setting fails here, not in the run
        self.engine.ready(self.store, recipe, points)
        runs = prepare(self.store, recipe, points, asked)
        return self.engine.start(self.store, runs, folder=recipe.folder)

    def wait(
        self, runs: Picked = None, *, timeout_s: float | None = None, progress: bool = True
    ) -> pd.DataFrame:
        """Wait until runs have ended, with a progress bar.

        Interrupting the wait stops no run. While the store cannot be reached the wait goes on, and
        the bar says so, for ``$RVLAB_PATIENCE_S``, by default ten minutes.

        Args:
            runs: Which; by default all runs of the store.
            timeout_s: Give up waiting after this many seconds; None waits for as long as it takes.
            progress: Show the bar.

        Returns:
            The table of these runs.

        Raises:
            TimeoutError: If they have not ended in time; they go on.
            StoreUnreachable: If the store cannot be reached for too long; they go on.
        """
        from tqdm.auto import tqdm

        wanted = picked(self.store, runs)
        until = None if timeout_s is None else time.monotonic() + timeout_s
        watch = Watch(self._patience_s())
        with tqdm(total=len(wanted), unit="run", disable=not progress) as bar:
            going, left = len(wanted), wanted
            while True:
                try:
                    self.engine.nudge(self.store)
                    table = self.runs(left)
                    table = table[~table["state"].isin(watch.over())]
                    going, left = len(table), [Run.from_uri(uri) for uri in table["uri"]]
                    bar.n = len(wanted) - going
                    bar.set_postfix_str(_told(table))
                    if not going:
                        return self.runs(wanted)
                    watch.there()
                except StoreUnreachable as exc:
                    bar.set_postfix_str(watch.away(exc))
                if until is not None and time.monotonic() > until:
                    raise TimeoutError(
                        f"{going} of {len(wanted)} runs have not ended in {timeout_s} s. "
                        "They go on; wait again, or cancel them."
                    )
                time.sleep(5.0 if self.engine.anywhere else 1.0)

    def _patience_s(self) -> float:
        profile = getattr(self.engine, "profile", None)
        return patience_s() if profile is None else float(profile.patience_s)

    def cancel(self, runs: Picked) -> None:
        """End runs that wait or run, with all their processes; those that have ended stay.

        The engine is asked first: a run that has failed there, or succeeded, stays so, and can be
        retried.

        Args:
            runs: Which; naming none is refused, so that a slip does not end all.

        Raises:
            HasEnded: If all of them have ended already.
            EngineError: If one of them cannot be ended, is another engine's, or its engine cannot
                be reached, and then nothing is recorded of it; the others are ended.
        """
        if runs is None:
            raise SpecError("cancel needs to know which runs. Name them, or their experiment.")
        wanted = picked(self.store, runs)
        troubles = list(self.engine.cancel_many(self.store, wanted).values())
        others = [exc for exc in troubles if not isinstance(exc, HasEnded)]
        if others:
            raise others[0]
        if troubles and len(troubles) == len(wanted):
            raise troubles[0]


class Watch:
    """How long the store of runs that are waited for has not answered.

    Args:
        patience_s: For so many seconds it may.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._since: float | None = None
        self._back = -math.inf

    def away(self, exc: StoreUnreachable) -> str:
        """What the progress bar shows while it does not answer.

        Raises:
            StoreUnreachable: If it has not for too long.
        """
        self._since = self._since or time.monotonic()
        away_s = time.monotonic() - self._since
        if away_s >= self._patience_s:
            raise StoreUnreachable(
                f"{exc} It has not answered for {duration_text(away_s)}. The runs go on; wait "
                "again."
            ) from exc
        return f"store cannot be reached for {away_s:.0f} s"

    def there(self) -> None:
        """It has answered."""
        if self._since is not None:
            self._since, self._back = None, time.monotonic()

    def over(self) -> tuple[str, ...]:
        """The states of runs that are not waited for any more.

        While the store was away no run could write a heartbeat, so none is taken for lost until a
        minute later.
        """
        is_early = self._since is not None or time.monotonic() - self._back < SILENT_S
        return (*ENDED, "broken") if is_early else (*ENDED, "broken", "lost")


def _told(table: pd.DataFrame) -> str:
    counts = table["state"].value_counts()
    steps = table.loc[table["state"] == "running", "step"].value_counts()
    parts = [f"{n} {state}" for state, n in counts.items()]
    return ", ".join(parts) + (f" ({', '.join(str(s) for s in steps.index)})" if len(steps) else "")
