"""Permissions of files that may contain secrets or data: access only for the owner."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

from rvlab.store import server

START = """
import os, sys
os.umask(0)
from rvlab.store import server
folder = sys.argv[1]
server.start_server(folder)
server.stop_server(folder)
server.start_server(folder)  # renames the log of the previous start
"""

JOURNAL = """
import os, sys
os.umask(0)
from pathlib import Path
from rvlab.model import Run
from rvlab.store import Store
from rvlab.worker.step_recorder import StepRecorder
scratch = Path(sys.argv[1])
with StepRecorder(Store(scratch / "store"), Run("s", "e", "r"), "train", scratch=scratch):
    print("epoch 0")
"""


def open_to_others(folder: Path) -> list[str]:
    """List the files and folders in a folder, and the folder, that others can read or write.

    SeaweedFS writes some files in ``data`` with mode 0644; the mode of the folder protects them.
    """
    found = []
    for path in [folder, *folder.rglob("*")]:
        if folder / "data" in path.parents:
            continue
        mode = path.lstat().st_mode
        if not stat.S_ISLNK(mode) and stat.S_IMODE(mode) & 0o077:
            found.append(f"{path.relative_to(folder)} {stat.filemode(mode)}")
    return found


def run_python(script: str, *args: str) -> None:
    subprocess.run([sys.executable, "-c", script, *args], check=True)


def test_files_of_the_embedded_server_are_private_with_umask_0(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "s3"
    try:
        run_python(START, str(folder))
        names = {path.name for path in folder.iterdir()}
        wanted = {"server.json", "server.log", "server.log.old", "internal.pem", "bucket", "data"}
        assert wanted <= names
        assert open_to_others(folder) == []
    finally:
        server.stop_server(folder)


def test_existing_server_folder_is_made_private(tmp_path: Path) -> None:
    folder = tmp_path / "s3"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    try:
        server.start_server(folder)
        assert open_to_others(folder) == []
    finally:
        server.stop_server(folder)


def test_log_of_a_step_is_private_until_it_is_stored(tmp_path: Path) -> None:
    run_python(JOURNAL, str(tmp_path))
    assert stat.S_IMODE((tmp_path / "train.log").stat().st_mode) == 0o600


TOGETHER = """
import os, sys
os.umask(0)
from rvlab import Lab, LocalEngine
from rvlab.engines.job_queue import JobQueue
from rvlab.store import Store
from tests.frame.samples import Made

store = Store(sys.argv[1])
made = Made(store)
run = made.ended({"lr": 0.1}, {"f1": 0.5})
made.table(run, "evals", [])
lab = Lab(sys.argv[1], LocalEngine())
assert len(lab.runs()) == 1
lab.evals()
cell = "def get_config(runner, root_uri):\\n    raise ValueError('on purpose')\\n"
recipe = sys.argv[1] + ".py"
open(recipe, "w").write(cell)
waiting = lab.submit(recipe, experiment="failing")
lab.wait(waiting, progress=False)
"""


def test_queue_logs_and_cache_are_private_with_umask_0(
    tmp_path: Path,
) -> None:
    home, cache = tmp_path / "home", tmp_path / "cache"
    env = {**os.environ, "RVLAB_HOME": str(home), "RVLAB_CACHE": str(cache)}
    script = [sys.executable, "-c", TOGETHER, str(tmp_path / "store")]
    subprocess.run(script, env=env, check=True)
    assert any(cache.rglob("*"))
    assert any(home.rglob("supervisor.log"))
    assert open_to_others(home) == []
    assert open_to_others(cache) == []
