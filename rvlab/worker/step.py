"""Execution of one step of a run."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rvlab.errors import KeyMissing, StepError
from rvlab.model import PREDICTION, SPLIT_STEPS, STEPS, Run
from rvlab.store import Store, read_spec, register_store
from rvlab.store.run_listing import reopen_run
from rvlab.worker.commands import StepPlan, run_command, save_config
from rvlab.worker.records import claim_job, write_end
from rvlab.worker.rv_overlap import patch_overlap
from rvlab.worker.rv_scene_memory import limit_raster_cache, patch_scene_memory
from rvlab.worker.sigterm import SigtermGuard, Terminated
from rvlab.worker.step_recorder import EXIT_FAILED, StepRecorder, error_sentence
from rvlab.worker.summarize import EndSummary, summarize_outputs


def run_step(
    uri: str, step: str, *, split: int | None = None, of: int | None = None, every_s: float = 5.0
) -> tuple[int, StepPlan | None]:
    """Run one step and write its records.

    Args:
        uri: The run's URI, ``{store}/{experiment}/{run}``.
        step: One of `rvlab.model.STEPS`.
        split: The split of chip or predict to run; None runs the complete step.
        of: The number of splits.
        every_s: Seconds between heartbeats.

    Returns:
        The exit status, 0 for success, and the plan if the step is configure.

    Raises:
        StepError: If the step is unknown or cannot be split, or the run has ended.
        StoreError: If the run's records cannot be read or written; a store that does not answer
            is retried first, see `rvlab.store.patience`.
    """
    if step not in STEPS:
        raise StepError(f"Unknown step {step!r}. The steps are {', '.join(STEPS)}.")
    if split is not None and step not in SPLIT_STEPS:
        raise StepError(f"{step} cannot be split. Omit --split.")
    run = Run.from_uri(uri)
    store = register_store(Store(run.store).with_patience())  # reads of scenes in it wait too
    spec = read_spec(store, run)
    _reopen_run(store, run, step, split)
    recorder: StepRecorder | None = None
    plan: StepPlan | None = None
    summary = EndSummary({}, {})
    with SigtermGuard() as sigterm, _scratch_folder(step) as folder, _restore_process_state():
        try:
            recorder = StepRecorder(
                store, run, step, split=split, of=of, scratch=folder, every_s=every_s
            )
            with recorder, sigterm.deliver():
                scratch = folder / "scratch"
                scratch.mkdir()
                if spec.kind == PREDICTION:
                    limit_raster_cache()
                if step == "summarize":
                    summary = summarize_outputs(store, run, spec.kind)
                else:
                    from rvlab.worker import rv_patches

                    rv_patches.apply_patches(scratch, spec.seed, split=split or 0, splits=of or 1)
                    if spec.kind == PREDICTION:
                        patch_scene_memory()
                        if spec.params.get("overlap") is not None:
                            patch_overlap()
                    if step == "configure":
                        claim_job(store, run, run.id)  # a pipeline may have claimed it before
                        plan = save_config(store, run, spec, scratch)
                    else:
                        run_command(store, run, step, scratch, split=split, of=of)
        except BaseException as exc:  # noqa: BLE001  SystemExit of a recipe is a failure too
            record = recorder.record if recorder else None
            message = (record and record.error) or error_sentence(exc, store)
            # A pod gets SIGTERM when its run is terminated in Kubeflow, when its node is drained,
            # and before a retry. Only the engine knows the reason, so a pod does not write the end
            # record.
            if spec.steady_heartbeat or not isinstance(exc, Terminated):
                # If the run was cancelled, its end record remains.
                write_end(store, run, spec.record(), "failed", step=step, error=message)
            return (record and record.exit_code) or EXIT_FAILED, None
        if step == "summarize":
            write_end(
                store,
                run,
                spec.record(),
                "succeeded",
                metrics=summary.metrics,
                eval_sets=summary.eval_sets,
            )
    return 0, plan


def _reopen_run(store: Store, run: Run, step: str, split: int | None) -> None:
    """Delete the end record of a failed run if this step is a retry.

    A retry is the step that failed, or an earlier step or a split of it that has already run. After
    a split has failed, the other splits of its step may still start: they run, and the run remains
    failed until the failed split is retried. summarize is rejected, since it would mark the run as
    succeeded.

    Raises:
        StepError: If the run has ended otherwise, or if summarize follows a failed step.
    """
    try:
        record = store.get_json(run.end_key)
    except KeyMissing:
        return
    state, failed = record.get("state"), record.get("step")
    if state != "failed":
        raise StepError(f"The run {run.id!r} has ended ({state}). Submit it again as a new run.")
    is_failed_step = failed is None or (failed == step and split is None)
    is_not_later = failed in STEPS and STEPS.index(step) <= STEPS.index(failed)
    if is_failed_step or (is_not_later and store.exists(run.step_key(step, split))):
        reopen_run(store, run)
    elif step == "summarize":
        raise StepError(f"The run {run.id!r} failed in {failed}. Retry {failed} first.")


@contextlib.contextmanager
def _scratch_folder(step: str) -> Iterator[Path]:
    """Create a temporary folder for this step, and delete it afterwards."""
    with tempfile.TemporaryDirectory(prefix=f"rvlab-{step}-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextlib.contextmanager
def _restore_process_state() -> Iterator[None]:
    """Restore the working folder and the temporary folder of the process on exit."""
    folder, tmpdir_variable, python_tmpdir = Path.cwd(), os.environ.get("TMPDIR"), tempfile.tempdir
    try:
        yield
    finally:
        os.chdir(folder)
        tempfile.tempdir = python_tmpdir
        os.environ.pop("TMPDIR", None)
        if tmpdir_variable is not None:
            os.environ["TMPDIR"] = tmpdir_variable
