"""The part of a lab that takes runs from elsewhere and gives them to others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rvlab.frame.select import Picked, picked
from rvlab.lab._places import Places
from rvlab.model import Run

if TYPE_CHECKING:
    import pandas as pd


class Exchange(Places):
    """Takes in and hands out runs; see `rvlab.Lab`."""

    def adopt(
        self,
        uri: str | Path,
        *,
        experiment: str = "adopted",
        params: Mapping[str, Any] | Callable[[dict[str, Any]], Mapping[str, Any]] | None = None,
    ) -> list[Run]:
        """Take outputs that Raster Vision left elsewhere into the tables, as runs that succeeded.

        The outputs stay where they are: nothing there is copied, written or deleted, and the run
        keeps the small tables that are read from them. So tables and their plots work wherever the
        store is read; pictures, `configs` and artifacts where the outputs can be read, too. They
        may have been moved since: addresses below the ``root_uri`` of the config are taken to lie
        below the folder in which the config is.

        Adopting again gives the same run and writes nothing, whatever `params` says now. Outputs
        that have been written anew since are another run. The run's times are those of its files:
        ``started`` is ``pipeline-config.json``, ``ended`` the newest ``eval.json``.

        Evaluations are taken as they are. Those of rvlab's own runs also count the pixels outside
        the areas of interest, which Raster Vision takes for null class that was predicted right,
        and leave them out. An adopted run has no such count: where scenes have areas of interest
        and a class such as ``background`` is the null class, its metrics of that class, and
        averages with it, are too good to be compared with theirs. Fingerprints (`scenes`) are
        taken when it is adopted, so imagery that has changed since the run is not noticed.

        Args:
            uri: A ``root_uri`` of Raster Vision's with ``pipeline-config.json`` and ``eval/``, and
                ``train/log.csv`` and ``predict/`` if there are; or a folder in which, at any depth,
                are several. A folder, ``s3://bucket/prefix``, or what else a store can be.
            experiment: The experiment they go to.
            params: By default a run's parameters are the plain values below ``backend.solver``,
                ``backend.model`` and ``backend.data`` of its config, ``solver.lr`` for one. A dict
                is added to those of each run; a function, of the config to a dict, replaces them.

        Returns:
            The runs, the oldest first, those adopted before among them.

        Raises:
            NotFound: If no config is there, or none of its outputs has been evaluated.
            RecordBroken: If a file is not what Raster Vision writes. Where several outputs lie
                below `uri`, those that cannot be adopted are left out with a warning.
            SpecError: If all that is there are runs of this store itself, or for wrong `params`.
            StoreUnreachable: If nobody answers at an address.
        """
        from rvlab.exchange.adopt import adopt

        return adopt(self.store, uri, experiment=experiment, params=params)

    def from_mlflow(
        self,
        tracking_uri: str | None = None,
        *,
        experiments: str | Iterable[str] | None = None,
        experiment: str | None = None,
    ) -> list[Run]:
        """Take the ended runs of MLflow into this store: records only, no artifacts.

        Importing again gives the same runs and writes nothing. Runs that `to_mlflow` sent from this
        store, and that are still in it, are not imported. ``docs/records.md`` says what becomes of
        parameters, metrics and steps.

        Args:
            tracking_uri: MLflow's server or database, such as ``http://127.0.0.1:5000`` or
                ``sqlite:///mlflow.db``; None is MLflow's own default, ``$MLFLOW_TRACKING_URI``.
            experiments: Names of MLflow's experiments; None takes all that were not deleted.
            experiment: The experiment they go to; by default the one of the same name, with ``-``
                for characters that may not stand in a key.

        Returns:
            The imported runs, the oldest first, those of earlier imports among them.

        Raises:
            MissingExtra: If MLflow is not installed.
            NotFound: If MLflow has no such experiment, or there is no such database.
            StoreUnreachable: If nobody answers at MLflow's address.
            StoreError: If MLflow, or this store, refuses.
        """
        from rvlab.exchange.from_mlflow import from_mlflow

        return from_mlflow(self.store, tracking_uri, experiments=experiments, experiment=experiment)

    def to_mlflow(
        self,
        runs: Picked = None,
        tracking_uri: str | None = None,
        *,
        experiment: str | None = None,
    ) -> pd.DataFrame:
        """Copy ended runs to MLflow: parameters, metrics, history, times and where they come from.

        Artifacts are not copied; the tag ``rvlab.uri`` says where they lie. Sending again sends
        only what is not there yet. Runs that were imported from this MLflow stay what they are.

        Args:
            runs: Which; by default all runs of the store.
            tracking_uri: As for `from_mlflow`.
            experiment: The MLflow experiment they go to; by default the one of the same name.

        Returns:
            Index ``run``; ``mlflow_run``, the id that MLflow has for it, and ``sent``, whether this
            call sent it.

        Raises:
            MissingExtra: If MLflow is not installed.
            NotFound: If there is no such run or experiment here.
            StoreUnreachable: If nobody answers at MLflow's address.
            StoreError: If MLflow refuses.
        """
        from rvlab.exchange.to_mlflow import to_mlflow

        return to_mlflow(self.store, picked(self.store, runs), tracking_uri, experiment=experiment)
