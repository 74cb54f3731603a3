"""``python -m rvlab.engines.kfp_local RUN_URI``: run one run's pipeline with ``kfp.local``.

This is a separate process, because kfp has one global configuration of local runs per process, and
replaces ``print`` and the root logger.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from rvlab.engines.local import GRACE_S
from rvlab.engines.processes import send_signal
from rvlab.errors import MissingExtra, RvlabError
from rvlab.model import Run
from rvlab.pipeline.compile import compile_pipeline
from rvlab.pipeline.start import load_request
from rvlab.settings import S3, Profile
from rvlab.store import Store
from rvlab.store.patience import PATIENCE_VARIABLE


def main(argv: Sequence[str] | None = None) -> int:
    """Run the pipeline of one run and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m rvlab.engines.kfp_local", description=__doc__)
    parser.add_argument("run_uri", help="{store}/{experiment}/{run}")
    parser.add_argument("--profile", default="{}", help="the settings, as JSON")
    parser.add_argument("--docker", action="store_true", help="run each step in the image")
    args = parser.parse_args(argv)
    try:
        profile = Profile(**json.loads(args.profile))
        return run_locally(Run.from_uri(args.run_uri), profile, docker=args.docker)
    except RvlabError as exc:
        print(f"rvlab: {exc}", file=sys.stderr)
        return 1


def run_locally(run: Run, profile: Profile, *, docker: bool = False) -> int:
    """Compile the pipeline of a run and execute it on this machine.

    Args:
        run: The run, whose records are in the store.
        profile: The image, and the resources of the steps.
        docker: Run the steps in the image instead of this environment.

    Returns:
        0, or 1 if a step failed; the run's records have the step and the reason.
    """
    try:
        from kfp import components, local
    except ImportError as exc:
        raise MissingExtra("A rehearsal needs kfp: pip install 'rvlab[kubeflow]'") from exc
    store = Store(run.store)
    local_profile = profile.model_copy(update={"s3": S3()})
    _, recipe, arguments = load_request(store, run)
    with tempfile.TemporaryDirectory(prefix="rvlab-rehearsal-") as folder:
        path = Path(folder) / "pipeline.yaml"
        path.write_text(compile_pipeline(recipe, local_profile, store=store.uri), encoding="utf-8")
        warnings.filterwarnings("ignore", message="You may be attemping to run a task")
        root = Path(folder) / "root"
        root.mkdir(mode=0o777)
        root.chmod(0o777)  # the image runs as another user
        local.init(_kfp_runner(local, store, docker=docker), pipeline_root=str(root))
        with _forward_sigterm():
            try:
                components.load_component_from_file(str(path))(**arguments)
            except RuntimeError as exc:  # kfp raises nothing more specific for a failed step
                print(f"rvlab: {exc}", file=sys.stderr)
                return 1
    return 0


@contextlib.contextmanager
def _forward_sigterm() -> Iterator[None]:
    """Forward SIGTERM to the step and wait until it has recorded its end.

    kfp runs the step in a shell, which ends immediately on SIGTERM. When this process ends, the
    supervisor kills the remaining processes of the run.
    """
    signalled: list[psutil.Process] = []

    def forward(number: int, _frame: FrameType | None) -> None:
        signalled.extend(psutil.Process().children(recursive=True))
        send_signal(signalled, number)
        if not signalled:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    previous_handler = signal.signal(signal.SIGTERM, forward)
    try:
        yield
    finally:
        psutil.wait_procs(signalled, timeout=GRACE_S)
        signal.signal(signal.SIGTERM, previous_handler)


def _kfp_runner(local: Any, store: Store, *, docker: bool) -> Any:
    if not docker:
        return local.SubprocessRunner(use_venv=False)
    forwarded = ("PYTHONHASHSEED", "TQDM_MININTERVAL", "OMP_NUM_THREADS", PATIENCE_VARIABLE)
    environment = {name: os.environ[name] for name in forwarded if name in os.environ}
    mounts = []
    if not store.is_s3:
        from docker.types import Mount

        mounts = [Mount(store.uri, store.uri, type="bind")]
    return local.DockerRunner(
        network_mode="host",
        user=f"{os.getuid()}:0",  # the owner of kfp's folder, and a group of the image
        environment={**environment, **store.environ(elsewhere=True)},
        mounts=mounts,
    )


if __name__ == "__main__":
    sys.exit(main())
