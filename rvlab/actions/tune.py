"""Adaptive search: Optuna proposes parameters, and each trial is an ordinary run."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rvlab.actions.annotate import note_runs, tag_runs
from rvlab.actions.control import cancel_runs, engine_states_query, start_runs
from rvlab.engines import Engine
from rvlab.errors import MissingExtra, NotFound, RvlabError, SpecError, WaitInterrupted
from rvlab.frame import history_table, runs_table
from rvlab.frame.input_tables import suggest_column
from rvlab.model import FINAL_STATES, Run, validate_name
from rvlab.search_space import Range, parse_space
from rvlab.store import Store
from rvlab.submission import SubmitOptions
from rvlab.user_warning import warn_user

if TYPE_CHECKING:
    import optuna
    import pandas as pd

    from rvlab.recipes import Recipe

READ_EVERY_S = 2.0
"""Seconds between two readings of the runs of a study."""

PRUNED_TAG = "pruned"
DIRECTIONS = ("maximize", "minimize")


@dataclass(frozen=True)
class TuneOptions:
    """The options of a study.

    Args:
        name: The study's name, in the column ``sweep`` of its runs.
        experiment: The experiment of the runs.
        metric: The column that is optimized, such as ``metrics.f1``.
        direction: ``maximize`` or ``minimize``.
        trials: Number of trials, including those of an earlier call with the same name.
        parallel: Number of runs at a time.
        prune_by: The column of the history that the pruner reads; None prunes no run.

    Raises:
        SpecError: If a value is invalid.
    """

    name: str
    experiment: str
    metric: str
    direction: str
    trials: int
    parallel: int
    prune_by: str | None = None

    def __post_init__(self) -> None:
        validate_name("study", self.name)
        validate_name("experiment", self.experiment)
        if self.direction not in DIRECTIONS:
            raise SpecError(f"direction must be maximize or minimize, got {self.direction!r}.")
        for name, value in (("trials", self.trials), ("parallel", self.parallel)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise SpecError(f"{name} must be a positive integer, got {value!r}.")


@dataclass
class Tuner:
    """A study whose trials are runs.

    Args:
        store: The store of the runs.
        engine: The engine of the runs.
        recipe: The recipe.
        space: The range or the values of each parameter.
        fixed: Parameters that all trials share.
        options: The options of the study.
        submit: The options of each submission.
        sampler: Optuna's sampler; None is Optuna's default.
        pruner: Optuna's pruner; None is the median pruner if `prune_by` is set.
    """

    store: Store
    engine: Engine
    recipe: Recipe
    space: Mapping[str, Range | list[Any]]
    fixed: Mapping[str, Any]
    options: TuneOptions
    submit: SubmitOptions
    sampler: optuna.samplers.BaseSampler | None = None
    pruner: optuna.pruners.BasePruner | None = None
    study: optuna.Study = field(init=False)
    _active: dict[str, optuna.Trial | None] = field(init=False, default_factory=dict)
    _reported: dict[str, int] = field(init=False, default_factory=dict)
    _done: set[str] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        optuna = import_optuna()
        pruner = self.pruner
        if pruner is None:
            pruner = optuna.pruners.MedianPruner() if self.options.prune_by else None
        before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # trials are in the progress bar
        try:
            self.study = optuna.create_study(
                study_name=self.options.name,
                direction=self.options.direction,
                sampler=self.sampler,
                pruner=pruner or optuna.pruners.NopPruner(),
            )
        finally:
            optuna.logging.set_verbosity(before)
        self._distributions = {name: distribution(axis) for name, axis in self.space.items()}

    def run(self, on_change: Callable[[pd.DataFrame], None] = lambda _: None) -> None:
        """Start and follow trials until all have ended.

        Args:
            on_change: Called with the table of the study's runs after each reading.
        """
        self._resume_earlier()
        while True:
            while len(self._active) < self.options.parallel and self._number < self.options.trials:
                self._start_trial()
            if not self._active:
                return
            self.engine.resume(self.store)
            table = self._table([*self._done, *self._active])
            on_change(table)
            self._follow(table)
            if self._active:
                time.sleep(READ_EVERY_S)

    @property
    def ended(self) -> int:
        """The number of trials that have ended."""
        return len(self._done)

    @property
    def _number(self) -> int:
        return len(self._active) + len(self._done)

    def _table(self, names: Sequence[str]) -> pd.DataFrame:
        runs = [Run(self.store.uri, self.options.experiment, name) for name in names]
        return runs_table(self.store, runs, engine_states_query(self.store, self.engine))

    def _resume_earlier(self) -> None:
        """Add the trials of an earlier call with the same name."""
        ask = engine_states_query(self.store, self.engine)
        try:
            table = runs_table(self.store, self.options.experiment, ask)
        except NotFound:
            return
        for name, row in table[table["sweep"] == self.options.name].iterrows():
            if self._params(row) is None:
                warn_user(
                    f"The run {name} of the study {self.options.name!r} is outside of this search "
                    "space and is not counted.",
                )
            elif row["state"] in FINAL_STATES:
                self._add_trial(str(name), row)
            else:
                self._active[str(name)] = None

    def _params(self, row: pd.Series[Any]) -> dict[str, Any] | None:
        """Return the parameters of a run as Optuna has them; None outside of the space."""
        params = {}
        for name, axis in self.space.items():
            found: Any = row.get(f"params.{name}")
            value = found.item() if hasattr(found, "item") else found
            if isinstance(axis, list):
                known = [encode_choice(one) for one in axis]
                value = encode_choice(value)
                if value not in known:
                    return None
            elif not isinstance(value, int | float) or not axis.low <= value <= axis.high:
                return None
            params[name] = value
        return params

    def _add_trial(self, name: str, row: pd.Series[Any]) -> None:
        """Add an ended run that this process did not start as a trial."""
        optuna = import_optuna()
        state, value = self._result(row)
        params = self._params(row)
        trial = optuna.trial.create_trial(
            params=params,
            distributions=self._distributions,
            value=value,
            state=state,
            user_attrs={"run": name},
        )
        self.study.add_trial(trial)
        self._done.add(name)

    def _start_trial(self) -> None:
        trial = self.study.ask(self._distributions)
        point = {name: _choice_of(self.space[name], value) for name, value in trial.params.items()}
        points = [{**self.fixed, **point}]
        (run,) = start_runs(self.store, self.engine, self.recipe, points, self.submit)
        trial.set_user_attr("run", run.id)
        self._active[run.id] = trial

    def _result(self, row: pd.Series[Any]) -> tuple[Any, float | None]:
        """Return the state of a trial, and its value if it is complete."""
        import pandas as pd

        optuna = import_optuna()
        states = optuna.trial.TrialState
        if row["state"] != "succeeded":
            is_pruned = PRUNED_TAG in str(row["tags"]).split(", ")
            return (states.PRUNED if is_pruned else states.FAIL), None
        value = row.get(self.options.metric)
        return (states.FAIL, None) if pd.isna(value) else (states.COMPLETE, float(value))

    def _follow(self, table: pd.DataFrame) -> None:
        """Report ended runs to Optuna, and prune those that are not promising."""
        ended = table["state"].isin(FINAL_STATES)
        self._require_metric(table)
        for name in [one for one in self._active if bool(ended.get(one, False))]:
            row: pd.Series[Any] = table.loc[[name]].iloc[0]
            trial = self._active.pop(name)
            if trial is None:
                self._add_trial(name, row)
                continue
            state, value = self._result(row)
            self.study.tell(trial, value, state=state)
            self._done.add(name)
        if self.options.prune_by:
            self._prune([name for name, trial in self._active.items() if trial is not None])

    def _require_metric(self, table: pd.DataFrame) -> None:
        succeeded = table[table["state"] == "succeeded"]
        if len(succeeded) and self.options.metric not in succeeded:
            names = [str(name) for name in table if str(name).startswith("metrics.")]
            raise SpecError(
                f"The runs have no column {self.options.metric!r}. "
                f"{suggest_column(self.options.metric, names)}"
            )

    def _prune(self, names: Sequence[str]) -> None:
        column = self.options.prune_by
        runs = [Run(self.store.uri, self.options.experiment, name) for name in names]
        history = history_table(self.store, runs)
        if column not in history:
            return
        for name, rows in history.dropna(subset=[column]).groupby("run"):
            trial = self._active[str(name)]
            if trial is None:
                continue
            for epoch, value in zip(rows["epoch"], rows[column], strict=True):
                if epoch > self._reported.get(str(name), -1):
                    trial.report(float(value), int(epoch))
                    self._reported[str(name)] = int(epoch)
            if trial.should_prune():
                self._stop(next(run for run in runs if run.id == name))

    def _stop(self, run: Run) -> None:
        """Cancel a run; its tag and its note say that it was pruned, and when."""
        try:
            cancel_runs(self.store, self.engine, run)
        except RvlabError as exc:
            warn_user(f"The run {run.id} could not be pruned: {exc}")
            return
        tag_runs(self.store, run, [PRUNED_TAG], ())
        note_runs(self.store, run, f"Pruned after epoch {self._reported[run.id]}.")


def tune(
    store: Store,
    engine: Engine,
    recipe: Recipe,
    space: Mapping[str, Any],
    *,
    fixed: Mapping[str, Any],
    options: TuneOptions,
    splits: int = 1,
    seed: int | None = None,
    sampler: optuna.samplers.BaseSampler | None = None,
    pruner: optuna.pruners.BasePruner | None = None,
    progress: bool = True,
) -> optuna.Study:
    """Search for the best parameters; see `rvlab.Lab.tune`."""
    from tqdm.auto import tqdm

    both = sorted(set(space) & set(fixed))
    if both:
        raise SpecError(f"{both[0]!r} is both searched and fixed. Remove one.")
    axes = parse_space(space)
    if not axes:
        raise SpecError("The search space is empty. Pass a dict, such as {'lr': [1e-3, 1e-2]}.")
    submit = SubmitOptions(
        options.experiment, engine.name, splits, seed, sweep=options.name, image=engine.image
    )
    corner = {name: axis[0] if isinstance(axis, list) else axis.low for name, axis in axes.items()}
    recipe.signature.bind({**fixed, **corner})  # a wrong name fails before the first trial
    tuner = Tuner(store, engine, recipe, axes, fixed, options, submit, sampler, pruner)
    with tqdm(total=options.trials, unit="trial", disable=not progress) as bar:

        def show(table: pd.DataFrame) -> None:
            bar.n = tuner.ended
            best = _best_text(table, options)
            bar.set_postfix_str(best)

        try:
            tuner.run(show)
        except KeyboardInterrupt as exc:
            raise WaitInterrupted(
                f"Interrupted after {tuner.ended} of {options.trials} trials. The active runs "
                f"continue; the same call continues the study {options.name!r}."
            ) from exc
    return tuner.study


def _best_text(table: pd.DataFrame, options: TuneOptions) -> str:
    if options.metric not in table or table[options.metric].isna().all():
        return ""
    values = table[options.metric]
    best = values.max() if options.direction == "maximize" else values.min()
    return f"best {options.metric.removeprefix('metrics.')} {best:.4g}"


def import_optuna() -> Any:
    """Return the module optuna.

    Raises:
        MissingExtra: If it is not installed.
    """
    try:
        import optuna
    except ImportError as exc:
        raise MissingExtra("lab.tune needs Optuna: pip install 'rvlab[tune]'.") from exc
    return optuna


def distribution(axis: Range | list[Any]) -> Any:
    """Return an axis as a distribution of Optuna."""
    kinds = import_optuna().distributions
    if isinstance(axis, list):
        return kinds.CategoricalDistribution([encode_choice(one) for one in axis])
    if axis.is_integer:
        return kinds.IntDistribution(axis.low, axis.high, log=axis.log)
    return kinds.FloatDistribution(axis.low, axis.high, log=axis.log)


def encode_choice(value: Any) -> Any:
    """Return a value as Optuna's choices allow it: lists and dicts as JSON."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    return json.dumps(value, sort_keys=True, default=str)


def _choice_of(axis: Range | list[Any], value: Any) -> Any:
    """Return the value that one of Optuna's choices represents."""
    if isinstance(axis, Range):
        return value
    return next(one for one in axis if encode_choice(one) == value)
