"""Contents of the report of an experiment: what differs, ranks, tests and how to repeat it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from rvlab import compare, frame
from rvlab.compare.columns import is_ascending, metric_column
from rvlab.compare.seed_groups import group_by_setting, split_succeeded
from rvlab.errors import KeyMissing, RecordBroken, TableError
from rvlab.frame.params import differing_columns, param_columns, value_codes
from rvlab.frame.run_selector import select_listings
from rvlab.model import Run, headline_group
from rvlab.report.cells import Cell, format_cell, list_different_values, short_column_name
from rvlab.report.run_summary import (
    MISSING_TEXT,
    Pairs,
    shorten_text,
    store_argument,
)
from rvlab.store import Store, read_spec
from rvlab.store.run_listing import RunListing

if TYPE_CHECKING:
    import pandas as pd

MAX_SHOWN_ROWS = 500
"""Largest number of rows of the leaderboard, and of runs that have not succeeded."""
MAX_POINTS, MAX_SOURCE_CHARS = 20, 200_000
CONTEXT_COLUMNS = ("experiment", "recipe", "source_sha256", "seed", "commit", "image", "engine")
"""Columns, besides parameters and evaluation sets, whose differences are part of the question."""


@dataclass(frozen=True)
class ExperimentSummary:
    """Runs, and what a report says about them; each property reads what it needs.

    Args:
        store: The store of the runs.
        runs: The table of runs.
        metric: The metric of the leaderboard.
        ascending: Whether its smallest value is the best.
    """

    store: Store
    runs: pd.DataFrame
    metric: str = "metrics.f1"
    ascending: bool = False

    @cached_property
    def addresses(self) -> list[Run]:
        """The runs, in the order of the table."""
        return [Run.from_uri(uri) for uri in self.runs["uri"]]

    @property
    def title(self) -> str:
        """The name of the experiment, or the names of several."""
        names = list(dict.fromkeys(run.experiment for run in self.addresses))
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        return f"{', '.join(names[:4])}{more}"

    @property
    def states(self) -> Pairs:
        """Each state with its number of runs, the most frequent first."""
        counted = self.runs["state"].value_counts()
        return [(str(state), str(number)) for state, number in counted.items()]

    @property
    def period(self) -> str:
        """The time from the first submission to the last end."""
        first, last = self.runs["created"].min(), self.runs["ended"].max()
        texts = [shorten_text(first), shorten_text(last)]
        return " to ".join(dict.fromkeys(text for text in texts if text != MISSING_TEXT))

    # The question

    @property
    def differences(self) -> Pairs:
        """What differs between the runs: a name and its values."""
        sets = [c for c in self.runs if str(c).partition(".")[0] == "eval_set"]
        context = [c for c in CONTEXT_COLUMNS if c in self.runs]
        # Runs without scores have no set; they are not counted as scored on other data.
        sets = [name for name in sets if self.runs[name].nunique() > 1]
        names = [*differing_columns(self.runs), *differing_columns(self.runs, context), *sets]
        return [(short_column_name(name), list_different_values(self.runs[name])) for name in names]

    @property
    def constants(self) -> Pairs:
        """The recipe and the parameters that all runs share."""
        differ = set(differing_columns(self.runs))
        names = ["recipe", *(c for c in param_columns(self.runs) if c not in differ)]
        same = [c for c in names if c in self.runs and self.runs[c].notna().any()]
        same = [c for c in same if c not in differing_columns(self.runs, [c])]
        return [(short_column_name(name), shorten_text(self.runs[name].iloc[0])) for name in same]

    @property
    def scored_on(self) -> str:
        """A sentence about the scenes on which the runs were scored."""
        rows = self.evals[self.evals["group"] == self.group]
        if self.group is None or rows.empty:
            return "No run has been scored."
        scenes = rows.dropna(subset=["scene"]).groupby("run")["scene"].nunique()
        low, high = (int(scenes.min()), int(scenes.max())) if len(scenes) else (0, 0)
        many = f"{low}" if low == high else f"{low} to {high}"
        sets = self.runs["eval_set"].nunique() if "eval_set" in self.runs else 0
        same = (
            "all runs were scored on the same scenes, labels and classes"
            if sets == 1
            else f"the runs were scored on {sets} different sets of scenes, labels or classes"
            if sets
            else "the runs have no record of the set"
        )
        return f"Scored on {many} {self.group} scene{'' if high == 1 else 's'}; {same}."

    # The leaderboard

    @cached_property
    def board(self) -> pd.DataFrame:
        """The leaderboard of `rvlab.compare.board`; a table without rows if no run has metrics.

        The warning that runs of different evaluation sets are ranked separately is left out, since
        the report says so elsewhere.
        """
        has_metrics = any(str(c).startswith("metrics.") for c in self.runs)
        if not has_metrics:
            return self.runs.iloc[:0]
        extra = [c for c in ("name", "duration", "state") if c in self.runs]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "These runs were evaluated", UserWarning)
            warnings.filterwarnings("ignore", ".*no record of the evaluation set", UserWarning)
            return compare.board(self.runs, self.metric, ascending=self.ascending, columns=extra)

    @cached_property
    def best(self) -> pd.DataFrame:
        """The succeeded runs with the metric of the first evaluation set, the best first."""
        if self.board.empty:
            return self.board
        rows, _ = split_succeeded(self.board[self.board["rank"].notna()])
        sets = [c for c in rows if str(c).partition(".")[0] == "eval_set"]
        for name in sets if len(rows) else ():
            codes = value_codes(rows[name])
            rows = rows[codes == codes[0]]
        return rows

    @property
    def leaderboard(self) -> tuple[list[str], list[list[Cell]]]:
        """Headings and cells of the leaderboard."""
        board = self.board.head(MAX_SHOWN_ROWS)
        if board.empty:
            return [], []
        column = metric_column(self.runs, self.metric)
        params = param_columns(board)
        metrics = [str(c) for c in board if str(c).startswith("metrics.") and c != column]
        ids = ["name"] if not params else []
        others = [c for c in (*CONTEXT_COLUMNS, "eval_set", "state", "duration") if c in board]
        names = ["rank", *params, *ids, column, "diff_to_best", *metrics, *others]
        cells = [[format_cell(name, row[name]) for name in names] for _, row in board.iterrows()]
        rows = [[*line, Cell(str(run))] for line, run in zip(cells, board.index, strict=True)]
        return [*map(short_column_name, names), "run"], rows

    # Tests

    @cached_property
    def settings(self) -> list[pd.DataFrame]:
        """The runs of each setting that differ only in their seed, the best mean first."""
        if self.best.empty:
            return []
        groups = group_by_setting(self.runs.loc[self.runs.index.isin(self.best.index)])
        column = metric_column(self.runs, self.metric)
        sign = 1 if self.ascending else -1
        return sorted(groups, key=lambda rows: sign * float(rows[column].mean()))

    @cached_property
    def leaders(self) -> pd.DataFrame:
        """The best run of each of the best two settings; the best two runs of a single setting."""
        if len(self.settings) < 2:
            return self.best.head(2)
        ranked = self.best.index
        firsts = [ranked[ranked.isin(rows.index)][0] for rows in self.settings[:2]]
        return self.best.loc[self.best.index.isin(firsts)]

    @property
    def test_sentences(self) -> list[str]:
        """The test of the best setting against the next one, in words."""
        if len(self.settings) < 2:
            return ["Fewer than two settings have this metric, so nothing can be tested."]
        metric = metric_column(self.runs, self.metric).removeprefix("metrics.")
        first, second = self.settings[:2]
        out = [compare.test(first, second, metric).sentence]
        if len(self.settings) > 2:
            out.append(
                f"The two were chosen as the best of {len(self.settings)} settings, which favours "
                "the first one: confirm a small difference with new seeds."
            )
        return out

    @property
    def seed_rows(self) -> tuple[list[str], list[list[Cell]]]:
        """Mean and interval of each setting over its seeds; empty without repeated settings."""
        if all(len(rows) < 2 for rows in self.settings):
            return [], []
        runs = self.runs.loc[self.runs.index.isin(self.best.index)]
        table = compare.seeds(runs, self.metric)
        table = table.drop(columns=[c for c in ("run", "uri") if c in table])
        names = [str(c) for c in table.columns]
        cells = [[format_cell(name, row[name]) for name in names] for _, row in table.iterrows()]
        return [short_column_name(name) for name in names], cells[:MAX_SHOWN_ROWS]

    # Tables of the runs

    @cached_property
    def evals(self) -> pd.DataFrame:
        """The evaluations of all runs."""
        return frame.evals_table(self.store, self._listings)

    @cached_property
    def _listings(self) -> list[RunListing]:
        return select_listings(self.store, self.addresses)

    def listings_of_rows(self, rows: pd.DataFrame) -> list[RunListing]:
        """Return the run listings of some rows of the table, without a request to the store."""
        wanted = [Run.from_uri(str(uri)) for uri in rows["uri"]]
        found = ((one, set(one.runs)) for one in self._listings)
        parts = (one.subset(run.id for run in wanted if run in runs) for one, runs in found)
        return [one for one in parts if one.ids]

    @cached_property
    def group(self) -> str | None:
        """The group of scenes of the headline metrics; None if no run was evaluated."""
        known = self.evals["group"].dropna().unique().tolist()
        return headline_group(known) if known else None

    @property
    def failures(self) -> list[list[str]]:
        """Run, name, state, step and error of each run that has not succeeded and is not active."""
        not_failed = ("succeeded", "running", "queued")
        rows = self.runs[~self.runs["state"].isin(not_failed)].head(MAX_SHOWN_ROWS)
        names = [n for n in ("name", "state", "step", "error") if n in rows]
        return [
            [str(run), *(shorten_text(row[n], 2000) for n in names)] for run, row in rows.iterrows()
        ]

    # How to repeat it

    @property
    def example(self) -> Run | None:
        """The best run, or the first one if none was scored."""
        rows = self.best if len(self.best) else self.runs
        return Run.from_uri(str(rows["uri"].iloc[0])) if len(rows) else None

    @property
    def example_heading(self) -> str:
        """What the example is."""
        return "The best run" if len(self.best) else "The first run"

    @property
    def environment(self) -> Pairs:
        """Recipe, code, image, seed and parameters of the example."""
        run = self.example
        if run is None:
            return []
        row = self.runs.loc[run.id]
        names = ("recipe", "source_sha256", "commit", "dirty", "image", "engine", "seed", "splits")
        pairs = [("run", run.id)]
        pairs += [(name, shorten_text(row.get(name), 80)) for name in names]
        pairs.append(("rvlab", _recorded_version(self.store, run)))
        pairs += [(short_column_name(c), shorten_text(row[c])) for c in param_columns(self.runs)]
        return [(name, value) for name, value in pairs if value != MISSING_TEXT]

    @property
    def repeat_python(self) -> str:
        """Lines of Python that repeat the example, and the runs of the report."""
        run = self.example
        if run is None:
            return ""
        lines = [
            "import rvlab",
            "",
            f"lab = rvlab.Lab({store_argument(run)!r})",
            f"lab.clone({run.prefix!r})  # the recorded recipe, parameters and seed",
        ]
        if 1 < len(self.addresses) <= MAX_POINTS:
            listed = "".join(f"\n    {one.prefix!r}," for one in self.addresses)
            lines += ["", f"for run in [  # all of them{listed}\n]:", "    lab.clone(run)"]
        return "\n".join(lines)

    @property
    def repeat_shell(self) -> str:
        """The command that repeats the example."""
        import shlex

        run = self.example
        if run is None:
            return ""
        return f"rvlab --store {shlex.quote(store_argument(run))} clone {shlex.quote(run.prefix)}"

    @property
    def source(self) -> str:
        """The recorded source of the example's recipe; empty if it was adopted or imported."""
        run = self.example
        if run is None:
            return ""
        try:
            text = self.store.get(run.key("recipe.py")).decode(errors="replace")
        except KeyMissing:
            return ""
        cut = "\n… the rest is left out" if len(text) > MAX_SOURCE_CHARS else ""
        return f"{text[:MAX_SOURCE_CHARS]}{cut}"

    @property
    def source_note(self) -> str:
        """A sentence about the versions of the recipe."""
        versions = self.runs["source_sha256"].nunique() if "source_sha256" in self.runs else 0
        if versions > 1:
            which = self.example_heading.lower()
            return (
                f"The runs have {versions} versions of the recipe; this is the version of {which}."
            )
        return ""


def load_experiment_summary(
    store: Store, runs: pd.DataFrame, *, metric: str = "metrics.f1", ascending: bool | None = None
) -> ExperimentSummary:
    """Return the contents of a report, after a check of the metric.

    Args:
        store: The store of the runs.
        runs: The table of runs.
        metric: The metric of the leaderboard.
        ascending: Whether its smallest value is the best; None means yes for an error or a loss.

    Raises:
        TableError: If other metrics exist, but not this one.
    """
    try:
        metric_column(runs, metric)
    except TableError:
        if any(str(c).startswith("metrics.") for c in runs):
            raise
    return ExperimentSummary(store, runs, metric, is_ascending(metric, ascending))


def _recorded_version(store: Store, run: Run) -> str:
    try:
        return read_spec(store, run).rvlab or MISSING_TEXT
    except (KeyMissing, RecordBroken):
        return MISSING_TEXT
