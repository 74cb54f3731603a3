"""The main object of a notebook: a store for runs and an engine that executes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from rvlab import compare, frame
from rvlab.actions import annotate, control, delete
from rvlab.actions.check import check_table
from rvlab.actions.completion import install_completion
from rvlab.actions.docstrings import complete_docstrings
from rvlab.actions.files import download_files, open_file
from rvlab.actions.follow import follow_log
from rvlab.actions.open_store import open_store
from rvlab.actions.overview import find_best_run, list_recipes, summarize_experiments
from rvlab.actions.show_lab import lab_html
from rvlab.actions.wait import wait_for_runs
from rvlab.actions.watch import show_runs_live, watch_runs
from rvlab.clone import clone_request
from rvlab.display.log_text import LogText
from rvlab.engines import Engine, resolve_engine
from rvlab.errors import NotFound
from rvlab.frame.filter_runs import validate_filter, without_unscored_predictions
from rvlab.frame.lineage import lineage_of
from rvlab.frame.logs import logs
from rvlab.frame.run_selector import (
    RunSelector,
    find_run,
    require_existing,
    require_one,
    resolve_runs,
    select_listings,
)
from rvlab.model import Run, Sweep
from rvlab.model.overview_tables import OVERVIEW_TABLES
from rvlab.model.tables import LAB_TABLES
from rvlab.recipes import find_recipe
from rvlab.store import Store, register_store
from rvlab.store.leftovers import OLDER_THAN_S
from rvlab.submission import SubmitOptions

if TYPE_CHECKING:
    import optuna
    import pandas as pd
    import torch
    from rastervision.core.predictor import Predictor

    from rvlab.actions.model_version import ModelSelector, ModelVersion
    from rvlab.exchange.class_values import ClassesLike
    from rvlab.exchange.history_rows import HistoryLike
    from rvlab.exchange.scene_files import FilesLike
    from rvlab.recipes.source import RecipeRef
    from rvlab.viewer.explorer import Explorer
    from rvlab.viewer.watch import Watch
    from rvlab.viewer.widget import Viewer


@complete_docstrings({**LAB_TABLES, **OVERVIEW_TABLES})
class Lab:
    """A store for runs and an engine that executes them.

    Args:
        store: A local folder, ``s3://bucket/prefix`` (with the credentials of the standard AWS
            variables), a `rvlab.store.Store`, or ``"embedded"``: an S3 server that rvlab starts on
            this machine, with its data in FOLDER for ``"embedded:FOLDER"``. Default:
            ``$RVLAB_STORE``, else ``"embedded"``.
        engine: ``"local"``, ``"kubeflow"``, ``"rehearse"`` (Kubeflow's pipeline on this machine),
            the name of an engine of another installed package, or an engine such as
            ``LocalEngine(max_parallel=2)``.
        profile: The profile of ``rvlab.toml`` with the cluster, image and bucket. Default:
            ``$RVLAB_PROFILE``, else the only one, else ``default``.

    Raises:
        SpecError: If the address of the store, the engine or the profile is invalid.

    What several methods share, such as the arguments ``runs`` and ``recipe``, and the columns of
    tables are added to their docstrings by `complete_docstrings`: see ``help(Lab.submit)``.
    """

    def __init__(
        self,
        store: str | Path | Store | None = None,
        engine: str | Engine = "local",
        *,
        profile: str | None = None,
    ) -> None:
        self.engine = resolve_engine(engine, profile)
        if not isinstance(store, Store):
            settings = getattr(self.engine, "profile", None)
            store = open_store(store, settings, remote=self.engine.sees_all_runs)
        self.store = register_store(store)
        show_runs_live(self.store, self.engine)
        install_completion()

    def __repr__(self) -> str:
        return f"Lab(store={self.store.uri!r}, engine={self.engine.name!r})"

    def _repr_html_(self) -> str:
        return lab_html(self.store, self.engine)

    @property
    def storage_options(self) -> dict[str, object]:
        """Options for ``pd.read_parquet(uri, storage_options=…)``, with the secret key."""
        return self.store.storage_options

    def check(self) -> pd.DataFrame:
        """Check the store and the engine before the first run; test keys are deleted.

        The store is written, read, listed and cleaned below ``_check``. On Kubeflow, the address,
        the version, the namespace, the permissions and the secrets are checked.

        Returns:
            ``subject check state detail remedy``; the state is ``ok``, ``failed`` or
            ``not checked``, and the remedy is what to do.
        """
        return check_table(self.store, self.engine)

    # Start runs

    def submit(
        self,
        recipe: RecipeRef,
        *,
        experiment: str = "default",
        splits: int = 1,
        seed: int | None = None,
        priority: int = 0,
        params: Mapping[str, Any] | None = None,
        **named: Any,
    ) -> Run:
        """Start one run and return at once."""
        point = {**(params or {}), **named}
        request = SubmitOptions(experiment, self.engine.name, splits, seed, priority=priority)
        return control.start_runs(self.store, self.engine, find_recipe(recipe), [point], request)[0]

    def sweep(
        self,
        recipe: RecipeRef,
        points: Sequence[Mapping[str, Any]],
        *,
        experiment: str = "default",
        splits: int = 1,
        seed: int | None = None,
        priority: int = 0,
        **fixed: Any,
    ) -> Sweep:
        """Start one run per point and return at once; the result is a list of the runs.

        Args:
            points: Parameters of each run, such as ``rvlab.grid(lr=[1e-3, 1e-2])`` returns;
                ``seed`` in a point is the run's seed.
            **fixed: Parameters of all points.
        """
        return control.sweep_runs(
            self.store,
            self.engine,
            find_recipe(recipe),
            points,
            fixed,
            experiment=experiment,
            splits=splits,
            seed=seed,
            priority=priority,
        )

    def tune(
        self,
        recipe: RecipeRef,
        space: Mapping[str, Any],
        *,
        metric: str = "metrics.f1",
        direction: str = "maximize",
        trials: int = 20,
        parallel: int = 2,
        experiment: str = "default",
        study: str = "tune",
        prune_by: str | None = None,
        sampler: optuna.samplers.BaseSampler | None = None,
        pruner: optuna.pruners.BasePruner | None = None,
        splits: int = 1,
        seed: int | None = None,
        progress: bool = True,
        **fixed: Any,
    ) -> optuna.Study:
        """Search for the best parameters with Optuna; each trial is an ordinary run.

        The call returns when all trials have ended. After an interruption or a restart of the
        kernel, the same call continues the study: its runs have its name in the column ``sweep``.

        Args:
            space: For each parameter a range (`rvlab.uniform`, `rvlab.loguniform`) or a list of
                values.
            metric: The column to optimize.
            direction: ``maximize`` or ``minimize``.
            trials: Number of trials, including those of earlier calls of the same study.
            parallel: Number of runs at a time.
            study: The name of the study.
            prune_by: A column of `history`, such as ``avg_f1``, whose values by epoch go to the
                pruner; it must improve in the same direction as `metric`. A pruned run is
                cancelled, with the tag ``pruned`` and its epoch in the note.
            sampler: Optuna's sampler. Default: TPE.
            pruner: Optuna's pruner. Default: the median pruner, if `prune_by` is given.
            progress: Show a progress bar.
            **fixed: Parameters that all trials share.

        Returns:
            Optuna's study; the attribute ``run`` of each trial is the id of its run.

        Raises:
            MissingExtra: If Optuna is not installed.
            SpecError: If a name, a value or the metric is invalid.
            WaitInterrupted: If the user interrupts the search; active runs continue.
        """
        from rvlab.actions.tune import TuneOptions, tune

        options = TuneOptions(study, experiment, metric, direction, trials, parallel, prune_by)
        return tune(
            self.store,
            self.engine,
            find_recipe(recipe),
            space,
            fixed=fixed,
            options=options,
            splits=splits,
            seed=seed,
            sampler=sampler,
            pruner=pruner,
            progress=progress,
        )

    def clone(
        self,
        run: RunSelector,
        *,
        experiment: str | None = None,
        splits: int | None = None,
        seed: int | None = None,
        priority: int = 0,
        params: Mapping[str, Any] | None = None,
        **named: Any,
    ) -> Run:
        """Start a run again from its recorded recipe, with some values changed; return at once.

        The run becomes the parent of the new run. The new run has the same experiment, splits, seed
        and parameters unless others are given, and the same ``data_uri`` if the recipe has one.

        Raises:
            SpecError: For several runs, a run without a recorded recipe, or an invalid name, type
                or value; nothing was started.
        """
        parent = require_one(self.store, run, "clone")
        recipe, point, request = clone_request(
            self.store,
            parent,
            {**(params or {}), **named},
            engine=self.engine.name,
            experiment=experiment,
            splits=splits,
            seed=seed,
            priority=priority,
        )
        return control.start_runs(self.store, self.engine, recipe, [point], request)[0]

    def predict(
        self,
        run: ModelSelector,
        images: Any,
        *,
        labels: Any = None,
        overlap: float | None = 0.25,
        scores: bool = True,
        bands: Sequence[int] | Sequence[str] | None = None,
        experiment: str | None = None,
        splits: int = 1,
        priority: int = 0,
        trust_code: bool = False,
    ) -> Run:
        """Start a run that predicts new imagery with the model of a run; return at once.

        Each image is a scene of the group ``test``, with the name of its file as id. The run writes
        cloud-optimized GeoTIFFs of labels and scores, and a GeoPackage of each scene; `download`
        copies them. Its kind is ``prediction``, its parent is `run`, or the run of the model.

        Args:
            run: One run, as for `logs`; or a model that `promote` made, as for `model`. Its version
                is the parameter ``model`` of the new run.
            images: A path, a URI, a pattern such as ``s3://bucket/2026/**/*.tif``, or a STAC item
                (``pystac.Item``, a dict, or the path or URL of its JSON); or a list of these. For
                imagery of several sources (``MultiRasterSource``), a tuple with a file, a folder or
                a pattern for each source, or a list of such tuples.
            labels: Files of labels, of the kind that the model was trained on: a dict of scene id
                or image to file, or files with the names of the images, or one file per image in
                the same order.
                The scenes with labels are scored.
            overlap: Fraction of a window that overlaps the next one, so that no seams show. Half of
                it is discarded on each side. None uses the predict options of `run`. Without effect
                on chip classification and object detection, which use those of `run`.
            scores: Whether a semantic segmentation stores the scores of each class.
            bands: The bands of the images in the order of the model's channels: numbers from 1, or
                names of a STAC item's bands or assets. Default: those of the training imagery; of
                an item with several images red, green and blue, for a model of three channels.
            experiment: The experiment of the new run. Default: that of `run` with ``-predictions``.
            trust_code: Execute the Python code of the bundle, as for `model`.

        Raises:
            NotFound: If the run, model or file does not exist, or the run has no bundle.
            SpecError: If an image has other bands, another type or no CRS, the files of its sources
                are of different places, labels belong to no image, or the bundle contains code that
                is not trusted; nothing was started.
            RasterError: If an image cannot be opened; nothing was started.
            MissingExtra: If pystac is not installed, which STAC items need.
            StoreError: If the bundle is damaged, or the store cannot be written.
        """
        from rvlab.actions.predict import PredictOptions, start_prediction

        options = PredictOptions(
            labels, overlap, scores, bands, experiment, splits, priority, trust_code
        )
        return start_prediction(self.store, self.engine, run, images, options)

    def retry(self, runs: RunSelector) -> None:
        """Restart runs that failed, were lost or were not submitted, several at once.

        Kubeflow continues at the failed step. A run that was deleted there, and every run of the
        local engine, starts at the first step.

        Raises:
            SpecError: If no run is named, or one has succeeded, was cancelled, is running or
                belongs to another engine; none was started.
            EngineError: If some cannot be started, such as one that waits in the cluster; the
                message names each, and the others were started.
        """
        control.retry_runs(self.store, self.engine, runs)

    def wait(
        self, runs: RunSelector = None, *, timeout_s: float | None = None, progress: bool = True
    ) -> pd.DataFrame:
        """Wait until runs have ended, with a progress bar, and return their table.

        Interrupting the wait does not stop the runs. `watch` shows them without a wait. While the
        store cannot be reached, the wait continues for up to ``$RVLAB_PATIENCE_S`` (ten minutes),
        and the bar shows it. While Kubeflow cannot be reached, the wait continues with the states
        that the store has.

        Args:
            timeout_s: Longest wait in seconds; None waits without a limit.
            progress: Show the bar.

        Raises:
            TimeoutError: If they have not ended in time; they continue.
            WaitInterrupted: If the user interrupts the wait; they continue.
            StoreUnreachable: If the store cannot be reached for too long; they continue.
        """
        return wait_for_runs(self.store, self.engine, runs, timeout_s=timeout_s, progress=progress)

    def watch(
        self, runs: RunSelector = None, *, metric: str = "metrics.f1", ascending: bool | None = None
    ) -> Watch:
        """Show runs live in a notebook while the kernel stays free.

        As the last line of a cell it shows the steps with their splits, the epoch, curves of loss
        and score, the time elapsed and left, the end of the log, buttons to cancel, and the
        leaderboard of several runs. It reads at most one small object per run every two seconds.
        When all runs have ended it becomes static HTML, which a saved notebook retains.

        Args:
            metric: The metric of the leaderboard; ``f1`` is short for ``metrics.f1``.

        Raises:
            MissingExtra: If anywidget is not installed.
            TableError: If no run has the metric, but some have others; it lists those.
        """
        return watch_runs(self.store, self.engine, runs, metric=metric, ascending=ascending)

    def cancel(self, runs: RunSelector) -> None:
        """Stop queued and running runs with all their processes; skip ended runs.

        The engine is queried first, so a run that failed or succeeded there retains that state.

        Raises:
            SpecError: If no run is named.
            HasEnded: If all of them have ended already.
            EngineError: If some cannot be stopped, belong to another engine, or their engine cannot
                be reached; the others are stopped. The message names each, and says whether its
                cancellation is recorded; cancel it again in both cases.
        """
        control.cancel_runs(self.store, self.engine, runs)

    def compile(self, recipe: RecipeRef) -> str:
        """Return the Kubeflow pipeline of a recipe as YAML, with the profile of this lab's engine.

        Raises:
            SpecError: If the recipe cannot be a pipeline, or pods cannot reach a store of this
                kind: it must be on S3.
            MissingExtra: If kfp is not installed.
        """
        from rvlab.pipeline.compile import compile_for_upload
        from rvlab.settings import load_profile

        profile = getattr(self.engine, "profile", None) or load_profile()
        return compile_for_upload(
            find_recipe(recipe),
            profile,
            store=self.store.uri,
            source="the lab's",
            remedy="Use Lab('s3://bucket/prefix').",
        )

    # Read tables

    def run(self, name: str) -> Run:
        """Return the run of a `name`: its id, the unique end of it, ``experiment/id`` or its URI.

        Raises:
            NotFound: If the run does not exist.
            SpecError: If several runs have the id `name`, or ids that end with it.
        """
        return find_run(self.store, name)

    def runs(
        self,
        runs: RunSelector = None,
        *,
        experiment: str | Iterable[str] | None = None,
        state: str | Iterable[str] | None = None,
        tags: str | Iterable[str] | None = None,
    ) -> pd.DataFrame:
        """Return the table of runs: one row per run with its parameters and metrics.

        The first ten columns, which a notebook shows, are ``name state``, up to three metrics, the
        parameters in which these runs differ, ``duration age``. With several experiments or
        recipes, ``experiment`` and ``recipe`` follow ``state``. Bookkeeping comes last. The filters
        are combined with `runs` and with each other.

        Args:
            experiment: The experiment of the runs, or several: a run is in one of them.
            state: A state, or several: a run has one of them.
            tags: A tag, or several: a run has all of them.

        Raises:
            SpecError: If a state or tag is invalid, or several ids end with the same text.
        """
        states = control.engine_states_query(self.store, self.engine)
        run_filter = None
        if experiment is not None or state is not None or tags is not None:
            run_filter = validate_filter(experiment=experiment, state=state, tags=tags)
        return frame.runs_table(self.store, runs, states, run_filter)

    def experiments(
        self, *, metric: str = "metrics.f1", ascending: bool | None = None
    ) -> pd.DataFrame:
        """Return the table of experiments: one row per experiment, with its name as index.

        The newest is first.

        Args:
            metric: The column of `runs` to choose the best run by; ``f1`` is short for
                ``metrics.f1``. If no run has the default, its values are missing.

        Raises:
            TableError: If no run has the metric, but some have others; it lists those.
            StoreUnreachable: If the store does not answer.
        """
        return summarize_experiments(self.runs(), metric, ascending=ascending)

    def recipes(self) -> pd.DataFrame:
        """Return the table of included recipes, for `submit`: one row per recipe."""
        return list_recipes()

    def best(
        self,
        runs: RunSelector = None,
        metric: str = "metrics.f1",
        *,
        ascending: bool | None = None,
        across_sets: bool = False,
    ) -> Run:
        """Return the best run by a metric; of equal runs the first.

        Args:
            metric: A column of `runs`; ``f1`` is short for ``metrics.f1``.
            across_sets: Compare also runs that were evaluated on different sets.

        Raises:
            NotFound: If a run or experiment does not exist, or the selection is empty.
            TableError: If no run has the metric; it lists those that exist.

        Warns:
            UserWarning: If the runs were evaluated on different sets of scenes, labels or classes.
                The best run is then that of the largest set.
        """
        return find_best_run(
            self.runs(runs),
            metric,
            ascending=ascending,
            across_sets=across_sets,
            store=self.store.uri,
        )

    def lineage(self, run: RunSelector) -> pd.DataFrame:
        """Return the ancestors and descendants of a run, the oldest first.

        Args:
            run: One run, or the id of a deleted parent.

        Returns:
            Index ``run``; ``name state generation changed``, metrics, ``created parent uri``.
        """
        return lineage_of(self.store, self.runs(), run)

    def evals(self, runs: RunSelector = None) -> pd.DataFrame:
        """Return the evaluations of runs, per class and scene and over all."""
        return frame.evals_table(self.store, select_listings(self.store, runs))

    def confusion(self, runs: RunSelector = None) -> pd.DataFrame:
        """Return the confusion matrices of runs."""
        return frame.confusion_table(self.store, select_listings(self.store, runs))

    def scenes(self, runs: RunSelector = None) -> pd.DataFrame:
        """Return the fingerprints of the scored scenes, to see which runs are comparable."""
        return frame.scene_fingerprints_table(self.store, select_listings(self.store, runs))

    def history(self, runs: RunSelector = None) -> pd.DataFrame:
        """Return one row per run and epoch, also of runs that are still training."""
        return frame.history_table(self.store, select_listings(self.store, runs))

    def artifacts(self, runs: RunSelector = None) -> pd.DataFrame:
        """Return the files that runs have written."""
        return frame.artifacts_table(self.store, select_listings(self.store, runs))

    def steps(self, runs: RunSelector = None) -> pd.DataFrame:
        """Return one row per step with its times, peak memory and processor time."""
        return frame.steps_table(self.store, select_listings(self.store, runs))

    def configs(self, runs: RunSelector = None, *, every: bool = False) -> pd.DataFrame:
        """Return the keys of Raster Vision's configs in which runs differ; `every` returns all."""
        import pandas as pd

        wanted = resolve_runs(self.store, runs)
        if not wanted:
            return pd.DataFrame(index=pd.Index([], name="run", dtype="object"))
        return compare.configs(wanted, every=every)

    def logs(
        self,
        run: RunSelector,
        step: str | None = None,
        *,
        tail: int | None = None,
        follow: bool = False,
    ) -> LogText:
        """Return the log of a run's steps; of a running step up to its last heartbeat.

        The result is a string, and a notebook shows it as lines. Only the last state of a progress
        bar is included.

        Args:
            step: One step, such as ``"train"`` or ``"predict-0"``; None for all.
            tail: The number of last lines to return. Default: all lines.
            follow: Print the log, and new lines until the run ends. An interruption ends the call,
                not the run.

        Raises:
            NotFound: If the run does not exist, or the step has no log.
            SpecError: If `tail` is not a positive number.
            WaitInterrupted: If the user interrupts `follow`; the run continues.
        """
        one = require_one(self.store, run, "logs")
        if follow:
            return follow_log(self.store, self.engine, one, step, tail=tail)
        return logs(self.store, one, step, tail=tail)

    # Read files

    def open(self, uri: str) -> BinaryIO:
        """Open a file of a run for reading; rasterio, torch and pandas accept the result.

        It works with the embedded store, too: ``rasterio.open(lab.open(uri))``.

        Args:
            uri: A URI, such as those of `artifacts`; as a context manager it closes itself.

        Raises:
            NotFound: If the file does not exist.
            SpecError: If the URI is neither in the store nor allowed (``SECURITY.md``).
        """
        return open_file(self.store, uri)

    def download(
        self,
        runs: RunSelector = None,
        *,
        kind: str | Sequence[str] | None = None,
        to: str | Path = "downloads",
    ) -> pd.DataFrame:
        """Download files of runs to ``{to}/{run}/``, eight at a time; skip those that are there.

        Args:
            kind: One or several kinds of `artifacts`, such as ``bundle`` or ``labels``.
            to: The folder.

        Returns:
            The rows of `artifacts` with ``path`` in place of ``uri``.

        Raises:
            NotFound: If a run does not exist, or no run has a file of a kind.
            SpecError: If a record names a path outside of the folder, or an address that is not
                allowed.
        """
        return download_files(self.store, self.artifacts(runs), kind, to)

    def model(
        self, run: ModelSelector, *, kind: str = "module", trust_code: bool = False
    ) -> torch.nn.Module | Predictor:
        """Load a trained model from its bundle; needs ``rvlab[train]``.

        Args:
            run: One run, as for `logs`; or a model that `promote` made: its name for the current
                version, ``"vegas-buildings:2"``, a `ModelVersion` or a row of `models`.
            kind: ``module``: the torch module with its weights, on the CPU and in eval mode; it
                takes images from 0 to 1. ``predictor``: Raster Vision's
                ``rastervision.core.predictor.Predictor``, whose ``predict([image], folder)`` writes
                the labels of new imagery.
            trust_code: Execute the Python code of the bundle, which defines the model if the recipe
                brought its own (``external_def``). Models of torchvision and of the included
                recipes do not need it.

        Raises:
            NotFound: If the run or model does not exist, or the run has no bundle.
            SpecError: If `kind` is unknown, the bundle contains code that is not trusted, the model
                has no current version, or a run or an experiment has its name.
            MissingExtra: If torch or Raster Vision is not installed.
            StoreError: If the bundle is damaged, is not the one that was promoted, or its weights
                are more than tensors.
        """
        from rvlab.actions.load_model import load_model

        return load_model(self.store, run, kind, trust_code=trust_code)

    # Promote models

    def promote(
        self,
        run: RunSelector,
        model: str,
        *,
        baseline: RunSelector = None,
        metric: str | None = None,
        margin: float = 0.0,
        group: str | None = None,
        level: float = 0.95,
        override: str | None = None,
        note: str = "",
        license: str | None = None,  # noqa: A002  as model cards call it
    ) -> ModelVersion:
        """Make the model of a run the next version of a named model, and the current one.

        The run must pass `rvlab.compare.gate` against the run of the current version; the first
        version only needs to have succeeded. The bundle is copied to the folder ``_models`` of the
        store, with its SHA-256. Beside it are a STAC item with the extension MLM, a model card and
        the recipe. A version never changes and no longer needs its run.

        Args:
            model: The name of the model: 3 to 100 letters, digits, ``.``, ``_`` and ``-``.
            baseline: Runs to compare with. Default: the run of the current version.
            metric: The metric of the gate. Default: ``f1``, or ``object_f1`` for an object
                detection.
            margin: The largest acceptable loss of the metric; with 0 it must be better.
            group: The group of scenes. Default: the group of the headline metrics.
            level: The level of the interval.
            override: Why the run is promoted although the gate does not pass, or cannot compare it.
                It is recorded with your name.
            note: What a user of the model should know, for its card.
            license: The license of the model, such as ``apache-2.0``.

        Returns:
            The version; a notebook shows its card. ``card``, ``item`` (the STAC item), ``metrics``
            with intervals, ``bundle_uri``, ``run`` and ``record`` are its attributes.

        Raises:
            GateNotPassed: If the gate does not pass, or the runs cannot be compared, without
                `override`; nothing was written.
            NotFound: If the run does not exist, or it has no bundle.
            SpecError: If the run has not succeeded or is an earlier version, an experiment has the
                name, or an argument is invalid; nothing was written.
            KeyExists: If another user has made the same version in the meantime.

        Warns:
            UserWarning: If the current version was made from this run; that version is returned.
        """
        from rvlab.actions.promote import GateOptions, promote_run

        options = GateOptions(baseline, metric, margin, group, level)
        return promote_run(
            self.store, run, model, options, override=override, note=note, license_name=license
        )

    def models(self, model: str | None = None) -> pd.DataFrame:
        """Return the versions of promoted models, the newest of each model first.

        Args:
            model: The name of a model. Default: all models.

        Raises:
            NotFound: If the model does not exist.

        Warns:
            UserWarning: For a version whose record is invalid; it is left out.
        """
        from rvlab.frame.models import models_table

        return models_table(self.store, model)

    def rollback(self, model: str, *, to: int | None, why: str = "") -> None:
        """Make another version of a model the current one, such as the one before.

        Args:
            model: The name of the model.
            to: The version. None withdraws the model: it has no current version then.
            why: Why, for `model_log`.

        Raises:
            NotFound: If the model or the version does not exist.
            SpecError: If it is the current one already.
        """
        from rvlab.actions.promote import roll_back

        roll_back(self.store, model, to, why)

    def model_log(self, model: str) -> pd.DataFrame:
        """Return which versions of a model were the current one, since when, by whom and why.

        Args:
            model: The name of the model.

        Raises:
            NotFound: If the model does not exist.
        """
        from rvlab.frame.models import model_log_table

        return model_log_table(self.store, model)

    # Look at predictions

    def windows(
        self,
        runs: RunSelector = None,
        by: str = "error",
        *,
        n: int = 12,
        size: int | None = None,
        classes: str | Sequence[str] | None = None,
        group: str | None = None,
        scenes: str | Sequence[str] | None = None,
        per_scene: int | None = None,
        seed: int = 0,
    ) -> pd.DataFrame:
        """Rank windows of scenes for ``plot.predictions(runs, windows)`` without reading rasters.

        The step summarize counts true and false positives and false negatives in each window. For
        runs without these counts (adopted or old runs) they are computed now, and stored beside
        the run if the store allows it. Only windows that all runs predicted are compared.

        Args:
            by: ``error``: most errors, averaged over the runs. ``object_error``: most false
                positive and false negative objects at an IoU of 0.5, counted at their centres.
                ``disagreement``: largest differences between the runs. ``difference``: the second
                run is better than the first, then the first is better than the second.
                ``confident_error``: most errors with a score of 0.9 or more. ``class``: most truth
                of `classes`. ``random``: a random order, by `seed`.
            n: Largest number of rows.
            size: Side of the windows in pixels, a multiple of the side of the counted windows (a
                power of two, 64 or more). Default: 512, or less in small scenes.
            classes: Names of the classes that are scored. Default: all.
            group: ``validation``, ``test`` or a scene group of the config. Default: validation, or
                test without it.
            scenes: Ids of scenes. Default: all of the group.
            per_scene: Largest number of rows per scene.
            seed: Seed of ``random``.

        Raises:
            NotFound: If `by`, a run, class, group or scene does not exist, or no run has counts.
            SpecError: If `by` needs other runs or arguments, or `size` does not fit.

        Warns:
            UserWarning: For a run, or scenes, that are left out.
        """
        from rvlab.frame.windows import ranked_windows_table

        return ranked_windows_table(
            self.store,
            select_listings(self.store, runs),
            by,
            n=n,
            size=size,
            classes=classes,
            group=group,
            scenes=scenes,
            per_scene=per_scene,
            seed=seed,
        )

    def objects(
        self,
        runs: RunSelector = None,
        *,
        iou: float = 0.5,
        min_area_px: float = 1,
        group: str | None = None,
        classes: str | Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """List true and predicted objects: connected components of masks, or boxes.

        A true and a predicted object of a class match if their intersection over union is at least
        `iou`: components one to one, boxes as in COCO, where the prediction with the highest score
        chooses first. Components are connected with 4 neighbours; pixels outside areas of interest
        or without a label belong to no object, and the null class has none. The step summarize
        finds the objects. For runs without this table (adopted or old runs) it is computed now, and
        stored beside the run if the store allows it.

        The rows are windows: ``plot.predictions(runs, objects.head(3), margin_px=30)``.

        Args:
            iou: The smallest IoU of a match, from 0.5; for boxes one of 0.5, 0.55, … 0.95.
            min_area_px: Smallest area of true and predicted components, in pixels; smaller ones
                are left out, also as matches.
            group: ``validation``, ``test`` or a scene group of the config. Default: validation, or
                test without it.
            classes: Names of the classes. Default: all.

        Raises:
            NotFound: If no run has objects, or a run, group or class does not exist.
            SpecError: If `iou` is invalid, or `min_area_px` is given for boxes.

        Warns:
            UserWarning: For a run, or scenes, that are left out.
        """
        from rvlab.frame.objects import objects_table

        return objects_table(
            self.store,
            select_listings(self.store, runs),
            iou=iou,
            min_area_px=min_area_px,
            group=group,
            classes=classes,
        )

    def viewer(
        self,
        runs: RunSelector = None,
        *,
        group: str | None = None,
        scene: str | None = None,
        windows: pd.DataFrame | None = None,
        label: str | None = None,
        height_px: int = 520,
    ) -> Viewer:
        """Show a map in JupyterLab with image, truth, predictions and errors.

        Args:
            group: ``train``, ``validation`` or ``test``: the scenes to choose from. Default:
                validation, or test without it.
            scene: The first scene to show.
            windows: The windows that the button *next worst* shows, as `windows` returns them.
                Default: the 50 windows with the most errors.
            label: The column that names the runs. Default: the parameters in which they differ.
            height_px: Height of the map in pixels.

        Raises:
            MissingExtra: If anywidget is not installed.
            NotFound: If a run, scene or group does not exist.
            SpecError: If a window or the height is invalid.
        """
        from rvlab.viewer import viewer

        table = self.runs(runs)
        scored = without_unscored_predictions(table)
        if windows is None and len(scored):
            try:
                windows = self.windows(scored, group=group, n=50)
            except NotFound:
                windows = None  # without counts the button reports that there are none
        return viewer(
            table, group=group, scene=scene, windows=windows, label=label, height_px=height_px
        )

    def explore(
        self, runs: RunSelector = None, *, columns: Sequence[str] | str | None = None
    ) -> Explorer:
        """Show the table of runs as a grid in JupyterLab: sort, filter, choose columns, select.

        ``selected()`` of the result returns the selected rows of the table of runs, which every
        function of rvlab accepts. A button draws the predictions of the selected runs.

        Args:
            columns: One or more columns to show at first, in this order. Default: the first ones of
                `runs` that have values.

        Raises:
            MissingExtra: If itables or ipywidgets is not installed.
            TableError: If a column does not exist.
        """
        from rvlab.actions.explore import explore_runs

        return explore_runs(self.store, self.runs(runs), columns)

    def report(
        self,
        runs: RunSelector,
        path: str | Path,
        *,
        metric: str = "metrics.f1",
        ascending: bool | None = None,
    ) -> Path:
        """Write a self-contained HTML report of one run or of several to a file.

        The report of one run has its metrics, predictions and curves. The report of several, such
        as an experiment, has what differs between them, a leaderboard that the browser sorts, a
        test of the best two settings, curves, confusion, worst windows, errors of failed runs and
        how to repeat it.

        Args:
            path: The file to write.
            metric: The metric of the leaderboard.

        Raises:
            SpecError: If the file cannot be written.
            TableError: If no run has the metric, but others.
        """
        from rvlab.actions.report import write_report

        table = self.runs(require_existing(self.store, runs))
        return write_report(self.store, table, path, metric=metric, ascending=ascending)

    def notebook(
        self,
        runs: RunSelector,
        path: str | Path,
        *,
        metric: str = "metrics.f1",
        ascending: bool | None = None,
    ) -> Path:
        """Write a notebook about runs to a new file: the questions of the report as cells.

        Args:
            path: The file to write; an existing file is not replaced.
            metric: The metric of the leaderboard.

        Raises:
            SpecError: If the file exists or cannot be written.
            TableError: If no run has the metric, but others.
        """
        from rvlab.actions.report import write_notebook

        table = self.runs(require_existing(self.store, runs))
        return write_notebook(self.store, table, path, metric=metric, ascending=ascending)

    # Annotate and delete

    def tag(self, runs: RunSelector, *tags: str, remove: str | Iterable[str] = ()) -> None:
        """Add tags to runs, and remove others; they are in the column ``tags``.

        Args:
            *tags: Text of 1 to 100 characters on one line.
            remove: Tags to remove; a tag that a run does not have is ignored.

        Raises:
            SpecError: If a tag is invalid, or no run is named; nothing was written.
        """
        annotate.tag_runs(self.store, runs, tags, remove)

    def note(self, runs: RunSelector, text: str) -> None:
        """Replace the note of runs, in the column ``note``; ``""`` clears it.

        Raises:
            SpecError: If `text` is not text.
        """
        annotate.note_runs(self.store, runs, text)

    def archive(self, runs: RunSelector, *, undo: bool = False) -> None:
        """Set the column ``archived`` of runs; nothing is deleted. `undo` clears it."""
        annotate.annotate_runs(self.store, runs, "archive", archived=not undo)

    def delete(self, runs: RunSelector, *, confirm: str | None = None) -> None:
        """Delete every key of runs and of their annotations after a typed confirmation.

        Outputs of Raster Vision in the run's folder are deleted too; outputs of adopted runs
        elsewhere and promoted models are not.

        Args:
            confirm: The name to type: the run's id, or the experiment for several runs.

        Raises:
            SpecError: If the name does not match or cannot be typed here, no run is named, the runs
                are of several experiments, or one is queued, running or the current version of a
                model; nothing was deleted.
            StoreError: If the store refuses; the remaining runs can be deleted again.
        """
        delete.confirm_and_delete(self.store, self.engine, runs, confirm)

    def clean(self, *, older_than_s: float = OLDER_THAN_S, dry_run: bool = False) -> pd.DataFrame:
        """Remove what interrupted submissions left in the store; `dry_run` only lists it.

        Args:
            older_than_s: Skip keys younger than this many seconds by the store's clock, since they
                may belong to a submission in progress.
            dry_run: Remove nothing.

        Returns:
            ``experiment run kind keys written removed``. The kind is an unfinished submission
            (``recipe.py`` without records), a stale active mark of an ended run, or an unlisted
            folder with other content, which is never removed.

        Raises:
            SpecError: If `older_than_s` is negative.
            StoreError: If the store does not answer or refuses.
        """
        return delete.clean_store(self.store, older_than_s=older_than_s, dry_run=dry_run)

    # Import and export

    def adopt(
        self,
        uri: str | Path | None = None,
        *,
        experiment: str = "adopted",
        params: Mapping[str, Any] | Callable[[dict[str, Any]], Mapping[str, Any]] | None = None,
        predictions: FilesLike | None = None,
        truth: FilesLike | RunSelector = None,
        classes: ClassesLike | None = None,
        null: str | int | None = None,
        scores: FilesLike | None = None,
        images: FilesLike | None = None,
        group: str = "validation",
        history: HistoryLike | None = None,
        name: str | None = None,
    ) -> list[Run]:
        """Register runs of other programs, without copying their files.

        Outputs of Raster Vision and log folders of Lightning are found below `uri`. With
        `predictions` and `truth`, segmentations of any program become a run with all metrics,
        tables and pictures. Adopting again returns the same runs. See
        ``docs/other-frameworks.md``, and ``docs/records.md`` for ids, times and metrics.

        Files are a folder, a glob, a list, or a dict of scene ids and files; paths or URIs. They
        are matched by their names: ``pred_town-1.tif`` and ``town-1-labels.tif`` are of the scene
        ``town-1``.

        Args:
            uri: A ``root_uri`` of Raster Vision, a log folder of Lightning with ``hparams.yaml``,
                ``metrics.csv`` or event files of TensorBoard, or a folder that contains several, at
                any depth. With `predictions`, the one log folder of their training.
            experiment: The experiment of the runs.
            params: A dict is added to the parameters of each run: the hyperparameters of Lightning,
                or the plain values below ``backend.solver``, ``backend.model`` and ``backend.data``
                of Raster Vision's config. A function of the hyperparameters or config replaces
                them.
            predictions: Rasters of class ids, or of class colors.
            truth: Rasters of class ids or colors, vector files, or a run, whose scenes, labels and
                classes are used.
            classes: Names in the order of the class ids; or a dict of names and their values in the
                rasters, or of names and colors.
            null: The name of the class of pixels without a label, or the value of these pixels,
                which are not counted then. Default: as in Raster Vision, a class ``null`` is added.
            scores: Rasters with a band of scores for each class, floats from 0 to 1 or bytes.
                Without `predictions`, the class with the largest score is predicted.
            images: The imagery. Without it, pictures show only labels.
            group: ``validation`` or ``test``.
            history: A table, or a dict of lists, with a row per epoch and a column per metric.
            name: The name of the run. Default: the name of the folder.

        Returns:
            The runs, the oldest first, including those adopted before.

        Raises:
            NotFound: If the folder has no run, or no outputs have been evaluated.
            RecordBroken: If a file is invalid. Among several outputs, invalid ones are skipped with
                a warning.
            RasterError: If rasters of a scene do not fit together, or have a value without a class.
            SpecError: If `uri` contains only runs of this store, an argument is invalid, or files
                have no partner.
            StoreUnreachable: If a store does not answer.
        """
        from rvlab.actions.adopt import adopt_runs
        from rvlab.exchange.adopt_predictions import PredictionArguments

        given = PredictionArguments(
            predictions=predictions,
            classes=classes,
            scores=scores,
            images=images,
            null=null,
            group=group,
            history=history,
            name=name,
        )
        return adopt_runs(self.store, uri, given, truth, experiment=experiment, params=params)

    def from_mlflow(
        self,
        tracking_uri: str | None = None,
        *,
        experiments: str | Iterable[str] | None = None,
        experiment: str | None = None,
    ) -> list[Run]:
        """Import the records of ended runs from MLflow, without artifacts.

        Importing again returns the same runs. Runs that `to_mlflow` sent from this store are
        skipped.

        Args:
            experiments: Names of MLflow's experiments. Default: all that were not deleted.
            experiment: The experiment of the runs. Default: the one of the same name, with ``-``
                for characters that a key cannot contain.

        Returns:
            The runs, the oldest first, including those imported before.

        Raises:
            NotFound: If MLflow has no such experiment or database.
        """
        from rvlab.exchange.from_mlflow import from_mlflow

        return from_mlflow(self.store, tracking_uri, experiments=experiments, experiment=experiment)

    def to_mlflow(
        self,
        runs: RunSelector = None,
        tracking_uri: str | None = None,
        *,
        experiment: str | None = None,
    ) -> pd.DataFrame:
        """Copy parameters, metrics, history and times of ended runs to MLflow.

        Args:
            experiment: MLflow's experiment. Default: the one of the same name.

        Returns:
            Index ``run``; ``mlflow_run``, MLflow's id, and ``sent``, whether this call sent it.
        """
        from rvlab.exchange.to_mlflow import to_mlflow

        return to_mlflow(
            self.store, resolve_runs(self.store, runs), tracking_uri, experiment=experiment
        )
