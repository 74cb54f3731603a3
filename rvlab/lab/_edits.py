"""The part of a lab that writes what people add to runs, and deletes runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rvlab import frame
from rvlab.errors import SpecError
from rvlab.frame.rows import HERE
from rvlab.frame.select import Picked, present
from rvlab.lab._places import Places
from rvlab.model import Run
from rvlab.model.edit import checked_tag
from rvlab.store import edits
from rvlab.store.leftovers import OLDER_THAN_S, leftovers, remove_leftover
from rvlab.store.removal import remove as remove_runs
from rvlab.submission import me

if TYPE_CHECKING:
    import pandas as pd


class Edits(Places):
    """Tags, notes, archives and deletes runs; see `rvlab.Lab`."""

    def tag(self, runs: Picked, *tags: str, remove: str | Iterable[str] = ()) -> None:
        """Add tags to runs, which stand in the column ``tags``, and take others away.

        Args:
            runs: Which; naming none is refused.
            *tags: Text of 1 to 100 characters on one line.
            remove: Tags that they are to have no more; those they do not have are no error.

        Raises:
            SpecError: For a tag that is none; nothing has been written.
            NotFound: If there is no such run.
        """
        added = tuple(dict.fromkeys(map(checked_tag, tags)))
        gone = [remove] if isinstance(remove, str) else remove
        removed = tuple(dict.fromkeys(map(checked_tag, gone)))
        both = sorted({*added} & {*removed})
        if both:
            raise SpecError(f"The tag {both[0]!r} is to be added and removed. Choose one.")
        if not added and not removed:
            raise SpecError("tag needs a tag to add, or remove= with one to take away.")
        wanted = self._named(runs, "tag")
        edits.put(self.store, wanted, me(), tags_added=added, tags_removed=removed)

    def note(self, runs: Picked, text: str) -> None:
        """Write a note on runs, which stands in the column ``note`` in place of an earlier one.

        Args:
            runs: Which; naming none is refused.
            text: The note; ``""`` clears it.

        Raises:
            SpecError: If it is no text.
            NotFound: If there is no such run.
        """
        if not isinstance(text, str) or any("\ud800" <= char <= "\udfff" for char in text):
            raise SpecError(f"{text!r} cannot be a note. Give text, or '' for no note.")
        edits.put(self.store, self._named(runs, "note"), me(), note=text)

    def archive(self, runs: Picked, *, undo: bool = False) -> None:
        """Put runs out of sight: the column ``archived`` is True, and nothing of them is lost.

        Args:
            runs: Which; naming none is refused.
            undo: Bring them back.

        Raises:
            NotFound: If there is no such run.
        """
        edits.put(self.store, self._named(runs, "archive"), me(), archived=not undo)

    def delete(self, runs: Picked, *, confirm: str | None = None) -> None:
        """Remove every key of runs and of their edits, once somebody has typed their name.

        What Raster Vision left in the run's folder goes too; what a run that was adopted from
        elsewhere has there stays.

        Args:
            runs: Which, of one experiment; naming none is refused.
            confirm: The name that would be asked for: the run's id, of several the experiment's.

        Raises:
            SpecError: If the name is wrong or nobody can be asked for it, or one of them waits or
                runs; nothing has been deleted.
            NotFound: If there is no such run.
            StoreError: If the store refuses; the runs that are left can be deleted again.
        """
        wanted = self._named(runs, "delete")
        if not wanted:
            return
        experiments = sorted({run.experiment for run in wanted})
        if len(experiments) > 1:
            raise SpecError(
                f"delete takes runs of one experiment at a time; these are of {len(experiments)}: "
                f"{', '.join(experiments[:8])}. Nothing has been deleted."
            )
        table = frame.runs(self.store, wanted, self._ask)
        asked = table["engine"].isin([self.engine.name, *HERE]) | table["ended"].notna()
        for id_, engine in table.loc[~asked, "engine"].dropna().items():
            raise SpecError(
                f"Whether the run {id_} has ended, its engine knows: open the lab with "
                f"engine={engine!r} to delete it. Nothing has been deleted."
            )
        going = table.loc[table["state"].isin(["queued", "running"]), "state"]
        for id_, state in going.items():
            raise SpecError(f"The run {id_} is {state}: cancel it first. Nothing has been deleted.")
        alone = len(wanted) == 1
        word = wanted[0].id if alone else experiments[0]
        what = f"the run {word}" if alone else f"{len(wanted)} runs of the experiment {word}"
        typed = _asked(what, word) if confirm is None else confirm
        if typed != word:
            raise SpecError(
                f"{typed!r} is not {word!r}, so {what} stays. Nothing has been deleted."
            )
        remove_runs(self.store, wanted)
        frame.forget(self.store, wanted)

    def clean(self, *, older_than_s: float = OLDER_THAN_S, dry_run: bool = False) -> pd.DataFrame:
        """Remove what interrupted submissions and ends left in the store; list it with `dry_run`.

        A submission that was killed leaves a folder with ``recipe.py`` and perhaps ``spec.json``
        that no table shows (an unfinished submission); a run that was killed while it ended may
        leave its mark as an active run (a stale active mark). Folders that hold more, but are on no
        table, are listed (an unlisted folder) and never removed.

        Args:
            older_than_s: Leave what was written within so many seconds, by the store's clock: it
                may belong to a submission that is under way.
            dry_run: Remove nothing.

        Returns:
            A row for each: ``experiment``, ``run``, ``kind``, ``keys`` (how many), ``written`` (the
            newest of them, UTC) and ``removed``.

        Raises:
            SpecError: If `older_than_s` is negative.
            StoreError: If the store does not answer or refuses.
        """
        import pandas as pd

        if not older_than_s >= 0:
            raise SpecError(f"older_than_s must be 0 or more seconds, got {older_than_s!r}.")
        found = leftovers(self.store, older_than_s=older_than_s)
        removed = [not dry_run and remove_leftover(self.store, one) for one in found]
        return pd.DataFrame(
            {
                "experiment": pd.Series([one.run.experiment for one in found], dtype="object"),
                "run": pd.Series([one.run.id for one in found], dtype="object"),
                "kind": pd.Series([one.kind for one in found], dtype="object"),
                "keys": pd.Series([len(one.keys) for one in found], dtype="int64"),
                "written": pd.Series([one.written for one in found], dtype="datetime64[us, UTC]"),
                "removed": pd.Series(removed, dtype="bool"),
            }
        )

    def _named(self, runs: Picked, verb: str) -> Sequence[Run]:
        """The runs that are meant; not all of them because none was named."""
        if runs is None:
            raise SpecError(f"{verb} needs to know which runs. Name them, or their experiment.")
        return present(self.store, runs)


def _asked(what: str, word: str) -> str:
    try:
        return input(f"This deletes {what} for good. Type {word} to do so: ").strip()
    except (EOFError, OSError, RuntimeError) as exc:  # a notebook that runs by itself, a script
        raise SpecError(
            f"delete asks for a name, and nobody can be asked here. Pass confirm={word!r}, in a "
            f"shell --yes-delete {word}, to delete {what}. Nothing has been deleted."
        ) from exc
