"""Execution of pipelines for the fake API server.

``kfp.local`` runs the uploaded YAML with the arguments of the request, in one process group per
run. It replaces Argo's pods, which need a cluster.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import yaml

from tests.kubeflow.fake import Kubeflow

CHILD = """
import json, sys
from kfp import components, local

spec, arguments, root, sys.executable = sys.argv[1:]  # kfp runs steps with this Python
local.init(local.SubprocessRunner(use_venv=False), pipeline_root=root)
components.load_component_from_file(spec)(**json.loads(open(arguments).read()))
"""


class Pods:
    """Runs the pipelines that are PENDING or RUNNING in a fake Kubeflow; a context manager.

    Args:
        kubeflow: The API server.
        folder: Folder for the pipelines and their outputs.
        environ: Variables of the pods, such as those of a Kubernetes secret.
        python: The command that runs a step.
    """

    def __init__(
        self, kubeflow: Kubeflow, folder: Path, environ: dict[str, str], python: Path
    ) -> None:
        self._kubeflow, self._folder, self._environ = kubeflow, folder, environ
        self._python = python
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Pods:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for process in self._started.values():
            _kill(process)
            process.wait()

    def _work(self) -> None:
        while not self._stop.wait(0.2):
            for run_id, run in list(self._kubeflow.runs.items()):
                process = self._started.get(run_id)
                if run.state == "CANCELING":
                    if process:
                        _kill(process)
                        process.wait()
                    self._kubeflow.to(run_id, "FAILED")  # as Argo reports it
                elif process is None and run.state in (None, "PENDING", "RUNNING"):
                    self._started[run_id] = self._start(run_id, run)
                    self._kubeflow.to(run_id, "RUNNING")
                elif process and process.poll() is not None and run.state == "RUNNING":
                    del self._started[run_id]  # so that a retry starts it again
                    self._kubeflow.to(run_id, "FAILED" if process.returncode else "SUCCEEDED")

    def _start(self, run_id: str, run: Any) -> subprocess.Popen[bytes]:
        version = self._kubeflow.versions[run.pipeline_version_reference.pipeline_version_id]
        spec = version.pipeline_spec.get("pipeline_spec", version.pipeline_spec)
        folder = self._folder / run_id
        folder.mkdir(exist_ok=True)
        # Pass Kubeflow's own id of the run; kfp would create another one for each attempt.
        text = yaml.safe_dump(spec).replace("{{$.pipeline_job_uuid}}", run_id)
        (folder / "pipeline.yaml").write_text(text)
        (folder / "arguments.json").write_text(json.dumps(run.runtime_config.parameters))
        with (folder / "log").open("wb") as log:
            return subprocess.Popen(
                [
                    *(sys.executable, "-W", "ignore", "-c", CHILD, str(folder / "pipeline.yaml")),
                    *(str(folder / "arguments.json"), str(folder / "root"), str(self._python)),
                ],
                env={**os.environ, **self._environ},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=folder,
            )


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
