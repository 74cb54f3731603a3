"""Reading a store loads no pickle, starts no process, opens no connection, writes no file."""

from __future__ import annotations

import ast
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import rvlab
from rvlab import Lab, LocalEngine
from rvlab.store import Store
from tests.security.made import hostile_run

PACKAGE = Path(rvlab.__file__).parent

EXECUTING = {
    *("eval", "exec", "os.system", "os.popen", "webbrowser.open", "pd.read_pickle", "torch.load"),
    *("pickle.load", "pickle.loads", "marshal.loads", "shelve.open", "joblib.load", "dill.load"),
    *("yaml.load", "yaml.unsafe_load", "shutil.unpack_archive", "runpy.run_path"),
}
"""Calls that execute their argument."""

ALLOWED = {
    "actions/bundle_code.py": "torch.load with weights_only, of a model that the user asks for",
    "pipeline/compile.py": "exec of a template of this package, which kfp compiles",
    "exchange/safe_yaml.py": "yaml.load with a subclass of SafeLoader that constructs plain values",
    "recipes/literals.py": "eval of an annotation of names, [], | and Field, all checked before",
}

READ = """
import sys
from pathlib import Path
uri, cache, script = sys.argv[1:]
import matplotlib; matplotlib.use("agg")
import matplotlib.pyplot, pandas, rasterio, jinja2, scipy.stats, tqdm.auto, IPython.display
from rvlab import Lab, LocalEngine, compare, plot
from rvlab.viewer import viewer
from rvlab.report.markdown import markdown
from rvlab.report.page import render_page
from rvlab.report.run_summary import load_run_summary
from rvlab.model import Run

FORBIDDEN = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.",
    "pickle.find_class", "webbrowser.open", "urllib.Request", "shutil.unpack_archive", "ftplib.",
    "ctypes.dlopen", "os.remove", "os.rename", "os.chmod", "os.rmdir", "shutil.", "os.putenv")
seen = []

def hook(event, args):
    if event.startswith(FORBIDDEN):
        paths = [str(a) for a in args if isinstance(a, (str, Path))]
        # The cache of rows and temporary files of libraries may be written.
        if not (event.startswith(("os.", "shutil.")) and paths and inside(paths[0])):
            seen.append((event, [str(a)[:200] for a in args]))
    elif event == "open" and isinstance(args[0], str) and set(args[1] or "") & set("wax+"):
        if not inside(args[0]):
            seen.append((event, args[0]))
    elif event == "exec" and "attacked" in constants(args[0]):
        seen.append((event, args[0].co_filename))

def inside(path):
    return path.startswith((cache, "/dev/null"))

def constants(code):
    inner = [constants(one) for one in code.co_consts if hasattr(one, "co_consts")]
    return " ".join([str(code.co_consts), str(code.co_names), *inner])

def attempt(read):
    try:
        return read()
    except Exception as exc:
        print(type(exc).__name__, str(exc)[:200].encode("unicode_escape").decode())
        return None

if script == "self-test":
    sys.addaudithook(hook)
    import pickle
    attempt(lambda: pickle.loads(pickle.dumps(Path)))
    attempt(lambda: Path(uri, "written").write_text("x"))
    attempt(lambda: eval("'attacked'"))
    assert {event for event, _ in seen} == {"pickle.find_class", "open", "exec"}, seen
    sys.exit()

lab = Lab(uri, LocalEngine())
run = Run.from_uri(script)
from rvlab.recipes import find_recipe
sys.addaudithook(hook)
table = attempt(lab.runs)
for name in ("evals", "confusion", "scenes", "configs", "history", "artifacts", "steps", "lineage"):
    attempt(lambda: getattr(lab, name)(run))
attempt(lambda: lab.logs(run))
attempt(lambda: lab.windows(table))
attempt(lambda: compare.styled(compare.board(table)).to_html())
attempt(lambda: compare.configs(table))
attempt(lambda: table._repr_html_())
for draw in (plot.predictions, plot.parallel):
    attempt(lambda draw=draw: draw(table))
attempt(lambda: plot.confusion(lab.confusion(run)))
attempt(lambda: plot.curves(lab.history(run)))
attempt(lambda: render_page(run))
attempt(lambda: markdown(load_run_summary(run)))
shown = attempt(lambda: viewer(table))
attempt(lambda: shown._catalog.scene_info("val-0"))
from rvlab.clone import load_recorded
attempt(lambda: load_recorded(lab.store, run)[1].signature.bind({}))
assert table is not None and len(table) == 1
assert not seen, seen
"""


def call_name(node: ast.Call) -> str:
    return ast.unparse(node.func)


def test_no_module_calls_functions_that_execute_their_argument() -> None:
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            shell = any(k.arg in ("shell", "allow_pickle") for k in node.keywords)
            if call_name(node) in EXECUTING or shell or call_name(node).endswith("extractall"):
                found.setdefault(str(path.relative_to(PACKAGE)), set()).add(call_name(node))
    assert found.keys() == ALLOWED.keys(), found


class Attack:
    """An object whose pickle creates a file when it is loaded."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.target}",))


def read(*args: str, cache: Path) -> subprocess.CompletedProcess[str]:
    folders = {name: str(cache / name) for name in ("RVLAB_HOME", "RVLAB_CACHE", "TMPDIR")}
    (cache / "TMPDIR").mkdir(parents=True)
    env = {**os.environ, **folders, "MPLCONFIGDIR": str(cache), "IPYTHONDIR": str(cache)}
    command = [sys.executable, "-W", "ignore", "-B", "-c", READ, args[0], str(cache), args[1]]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_audit_hook_detects_forbidden_events(tmp_path: Path) -> None:
    done = read(str(tmp_path), "self-test", cache=tmp_path / "cache")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "content", [pytest.param("records", marks=pytest.mark.extended), "pickles"]
)
def test_reading_a_store_executes_nothing(tmp_path: Path, content: str) -> None:
    root, mark = tmp_path / "store", tmp_path / "attacked"
    run = hostile_run(root)
    store = Store(root)
    attack = f"import os\nos.system('touch {mark}')\n"
    default = f"__import__('os').system('touch {mark}')"
    recipe = f"{attack}def get_config(runner, root_uri, lr: ({default}) = {default}):\n    {attack}"
    store.put(run.key("recipe.py"), recipe.encode())
    store.put_json(run.key("claim.json"), {"id": default, "link": "javascript:attacked"})
    if content == "pickles":
        data = pickle.dumps(Attack(mark))
        names = ["tables/evals.parquet", "tables/confusion.parquet", "tables/artifacts.parquet"]
        names += ["tables/scenes.parquet", "rv/train/log.csv", "logs/train.log", "steps/train.json"]
        names += ["rv/bundle/model-bundle.zip", "rv/train/last-model.pth", "rv/eval/eval.json"]
        names += ["rv/predict/val-0/labels.tif", "rv/predict/val-0/pixel_hits.npy"]
        for name in names:
            store.put(f"{run.prefix}/{name}", data)
    done = read(str(root), run.uri, cache=tmp_path / "cache")
    assert done.returncode == 0, done.stderr + done.stdout
    assert not mark.exists()


def test_clone_does_not_execute_the_recipe_in_the_calling_process(tmp_path: Path) -> None:
    """Clone without executing the recorded recipe; only the new run's worker executes it."""
    root, mark = tmp_path / "store", tmp_path / "attacked"
    run = hostile_run(root)
    store = Store(root)
    recipe = f"import os\nos.system('touch {mark}')\ndef get_config(runner, root_uri, lr=1): ...\n"
    store.put(run.key("recipe.py"), recipe.encode())
    spec = {**store.get_json(run.key("spec.json")), "params": {"lr": 2}, "folder": None}
    store.put_json(run.key("spec.json"), json.loads(json.dumps(spec)))

    class Waiting(LocalEngine):
        """An engine that queues no run, so that no worker executes the recipe."""

        def start(
            self, store: Any, runs: Any, *, folder: Any = None, priority: Any = 0
        ) -> list[Any]:
            return list(runs)

    clone = Lab(root, Waiting()).clone(run.uri, lr=3)
    assert store.get(clone.key("recipe.py")).decode() == recipe
    assert not mark.exists()
