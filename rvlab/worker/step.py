"""One step of a run: a run's URI in, records out."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rvlab.errors import KeyMissing, StepError
from rvlab.model import SPLIT_STEPS, STEPS, Run, Spec
from rvlab.store import Store, register_store
from rvlab.store.run_listing import reopen_run
from rvlab.worker.commands import StepPlan, run_command, save_config
from rvlab.worker.records import SPEC, claim_job, write_end
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
        split: Which piece of chip or predict; None for all of it.
        of: How many pieces there are.
        every_s: Seconds between heartbeats.

    Returns:
        The exit status, 0 for success; and what configure planned.

    Raises:
        StepError: If it cannot start: an unknown step, a run that has ended.
        StoreError: If the run's records cannot be read or written; one that does not answer is
            waited for, see `rvlab.store.patience`.
    """
    if step not in STEPS:
        raise StepError(f"There is no step {step!r}. The steps are {', '.join(STEPS)}.")
    if split is not None and step not in SPLIT_STEPS:
        raise StepError(f"{step} is not split. Leave --split out.")
    run = Run.from_uri(uri)
    store = register_store(Store(run.store).patient())  # scenes that lie in it are waited for, too
    spec = Spec.from_record(store.get_json(run.key(SPEC)), run.key(SPEC))
    _reopen_run(store, run, step, split)
    journal: StepRecorder | None = None
    plan: StepPlan | None = None
    found = EndSummary({}, {})
    with SigtermGuard() as sigterm, _scratch_folder(step) as folder, _restore_process_state():
        try:
            journal = StepRecorder(
                store, run, step, split=split, of=of, scratch=folder, every_s=every_s
            )
            with journal, sigterm.deliver():
                scratch = folder / "scratch"
                scratch.mkdir()
                if step == "summarize":
                    found = summarize_outputs(store, run)
                else:
                    from rvlab.worker import rv_patches

                    rv_patches.apply_patches(scratch, spec.seed, split=split or 0, splits=of or 1)
                    if step == "configure":
                        claim_job(
                            store, run, run.id
                        )  # a pipeline has said before what it is called
                        plan = save_config(store, run, spec, scratch)
                    else:
                        run_command(store, run, step, scratch, split=split, of=of)
        except BaseException as exc:  # noqa: BLE001  SystemExit of a recipe is a failure too
            record = journal.record if journal else None
            why = (record and record.error) or error_sentence(exc, store)
            # A pod is asked to go when its run is ended in Kubeflow's pages, when its node is taken
            # away, and before it is tried again: which it was, Kubeflow knows.
            if not (isinstance(exc, Terminated) and spec.engine == "kubeflow"):
                write_end(
                    store, run, spec.record(), "failed", step=step, error=why
                )  # unless cancelled
            return (record and record.exit_code) or EXIT_FAILED, None
        if step == "summarize":
            write_end(
                store,
                run,
                spec.record(),
                "succeeded",
                metrics=found.metrics,
                eval_sets=found.eval_sets,
            )
    return 0, plan


def _reopen_run(store: Store, run: Run, step: str, split: int | None) -> None:
    """Take back the end of a run that failed, if this step is started to mend that.

    That is the step that failed or, started once more, an earlier one. A split that starts while
    another of its step has failed does its work, and the run remains failed until the other is
    started again; summarize, which would call the run a success, is refused.

    Raises:
        StepError: If the run is over.
    """
    try:
        record = store.get_json(run.end_key)
    except KeyMissing:
        return
    state, failed = record.get("state"), record.get("step")
    if state != "failed":
        raise StepError(f"The run {run.id!r} is over ({state}). Submit it again for another run.")
    own = failed is None or (failed == step and split is None)
    not_later = failed in STEPS and STEPS.index(step) <= STEPS.index(failed)
    if own or (not_later and store.exists(run.step_key(step, split))):
        reopen_run(store, run)
    elif step == "summarize":
        raise StepError(f"The run {run.id!r} failed in {failed}. Start {failed} again first.")


@contextlib.contextmanager
def _scratch_folder(step: str) -> Iterator[Path]:
    """A folder of this step's own, gone with it."""
    with tempfile.TemporaryDirectory(prefix=f"rvlab-{step}-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextlib.contextmanager
def _restore_process_state() -> Iterator[None]:
    """Leave the process in the folder it was in, with its place for temporary files."""
    folder, named, found = Path.cwd(), os.environ.get("TMPDIR"), tempfile.tempdir
    try:
        yield
    finally:
        os.chdir(folder)
        tempfile.tempdir = found
        os.environ.pop("TMPDIR", None)
        if named is not None:
            os.environ["TMPDIR"] = named
