"""The part of a lab that reads: tables of runs and of what they left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rvlab import compare, frame
from rvlab.errors import NotFound
from rvlab.frame.lineage import lineage
from rvlab.frame.select import Picked, one_present, picked, rolls, run_named
from rvlab.lab._places import Places
from rvlab.model import STEPS, Run
from rvlab.model.limits import LOG_BYTES

if TYPE_CHECKING:
    import pandas as pd


class Tables(Places):
    """Reads runs; see `rvlab.Lab`."""

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
            Index ``run``; state, tags, times and addresses, then ``params.*``, ``metrics.*`` and
            ``costs.*``. See `rvlab.frame.runs.runs`.

        Raises:
            NotFound: If there is no such experiment or run.
            StoreUnreachable: If nobody answers at the store's address.
        """
        return frame.runs(self.store, runs, self._ask)

    def lineage(self, run: Picked) -> pd.DataFrame:
        """The runs that a run was cloned from, and those cloned from it, the oldest first.

        Args:
            run: One run, or its id: that of a parent that was deleted, too.

        Returns:
            Index ``run``; ``generation parent changed name state created uri`` and the metrics. See
            `rvlab.frame.lineage.lineage`.

        Raises:
            NotFound: If there is no such run.
        """
        named = run.rstrip("/").rpartition("/")[2] if isinstance(run, str) else None
        table = self.runs()
        if named is not None and named in set(table["parent"].dropna()):
            return lineage(table, named)
        return lineage(table, one_present(self.store, run, "lineage").id)

    def evals(self, runs: Picked = None) -> pd.DataFrame:
        """The evaluations, long: ``run group scene class metric value``."""
        return frame.evals(self.store, rolls(self.store, runs))

    def confusion(self, runs: Picked = None) -> pd.DataFrame:
        """The confusion matrices, long: ``run group scene truth prediction count``."""
        return frame.confusion(self.store, rolls(self.store, runs))

    def scenes(self, runs: Picked = None) -> pd.DataFrame:
        """What each run was scored on, as fingerprints: ``run group scene image labels aois``."""
        return frame.scenes(self.store, rolls(self.store, runs))

    def configs(self, runs: Picked = None, *, every: bool = False) -> pd.DataFrame:
        """Raster Vision's config of each run, flattened: a column per key in which they differ.

        See `rvlab.compare.configs`; `every` gives all keys.
        """
        import pandas as pd

        wanted = picked(self.store, runs)
        if not wanted:
            return pd.DataFrame(index=pd.Index([], name="run", dtype="object"))
        return compare.configs(wanted, every=every)

    def history(self, runs: Picked = None) -> pd.DataFrame:
        """One row per run and epoch, of runs that are still training too."""
        return frame.history(self.store, rolls(self.store, runs))

    def artifacts(self, runs: Picked = None) -> pd.DataFrame:
        """The files that runs left: ``run step kind scene uri bytes``."""
        return frame.artifacts(self.store, rolls(self.store, runs))

    def steps(self, runs: Picked = None) -> pd.DataFrame:
        """The steps of runs with their times, peak memory and processor time, one row each."""
        return frame.steps(self.store, picked(self.store, runs))

    def logs(self, run: Picked, step: str | None = None) -> str:
        """What the steps of a run printed, in order; a heartbeat old while it runs.

        Args:
            run: The run, its id, or a row of a table.
            step: One step, such as ``"train"`` or ``"predict-0"``; None for all.

        Raises:
            NotFound: If there is no such run, or the step has not printed anything.
        """
        one = one_present(self.store, run, "logs")
        start = len(one.key("logs")) + 1
        sizes = dict(self.store.files(one.key("logs")))
        names = [key[start:].removesuffix(".log") for key in sizes]
        names.sort(key=_in_order)
        shown = [n for n in names if step is None or n == step or n.rpartition("-")[0] == step]
        if step is not None and not shown:
            raise NotFound(
                f"The run {one.id} has no log of {step!r}. "
                f"Those it has: {', '.join(names) or 'none yet'}."
            )
        parts = [self._log(key, sizes.get(key, 0)) for key in (one.log_key(n) for n in shown)]
        if len(shown) == 1:
            return parts[0]
        return "\n".join(f"── {n} ──\n{text}" for n, text in zip(shown, parts, strict=True))

    def _log(self, key: str, size: int) -> str:
        """The text of a log; of one that is very long the end."""
        if size <= LOG_BYTES:
            return self.store.get(key, limit=2 * LOG_BYTES).decode(errors="replace")
        text = self.store.get_range(key, size - LOG_BYTES, LOG_BYTES).decode(errors="replace")
        return f"[the last {LOG_BYTES:,} of {size:,} bytes]\n{text}"


def _in_order(name: str) -> tuple[int, int]:
    step, _, split = name.partition("-")
    return (
        STEPS.index(step) if step in STEPS else len(STEPS),
        int(split) if split.isdecimal() else 0,
    )
