"""Display of plots in a notebook, and imports of the plot package."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
import warnings

import pytest
from PIL import Image

nbclient = pytest.importorskip("nbclient")

SETUP = """
import pandas as pd
from rvlab import plot
runs = pd.read_pickle({path!r})
runs["metrics.f1"] = [0.9, 0.8, 0.7]
history = pd.DataFrame({{"run": list(runs.index) * 2, "epoch": [0, 0, 0, 1, 1, 1],
                        "val_loss": [3.0, 2, 1, 2, 1, 0.5]}})
evals = pd.DataFrame({{"run": list(runs.index), "group": "validation", "scene": "s", "class": None,
                      "metric": "f1", "value": [0.9, 0.8, 0.7]}})
confusion = pd.DataFrame({{"run": "r", "group": "validation", "scene": None, "count": [9, 1, 2, 8],
                          "truth": list("aabb"), "prediction": list("abab")}})
objects = pd.DataFrame({{"run": "r", "group": "validation", "scene": "s", "class": "a",
                        "side": ["truth", "prediction"], "outcome": "true positive",
                        "score": [None, 0.5], "matched_at": 3}})
many = pd.DataFrame({{"params.lr": range(12), "metrics.f1": range(12)}})
begun = pd.Timestamp("2026-11-23T15:42Z")
steps = pd.DataFrame({{"run": "r", "step": ["train"], "split": None, "started": [begun],
                      "ended": begun + pd.Timedelta("1min"), "state": "succeeded",
                      "peak_mb": 1.0, "cpu_s": 1.0}})
"""
CALLS = [
    "plot.confusion(confusion)",
    "plot.curves(history, smooth=2, best='min')",
    "plot.heatmap(evals)",
    "plot.importance(many)",
    "plot.parallel(runs)",
    "plot.precision_recall(objects)",
    "plot.predictions(runs)",
    "plot.scatter(runs)",
    "plot.timeline(steps)",
]


def pictures(cell):
    return [o for o in cell.outputs if "image/png" in o.get("data", {})]


@pytest.mark.filterwarnings("ignore")
def test_each_plot_is_shown_once_and_at_the_density_of_the_notebook(
    experiment, tmp_path, monkeypatch
):
    import nbformat

    monkeypatch.delenv("MPLBACKEND", raising=False)  # so that the kernel uses the inline backend

    path = str(tmp_path / "runs.pkl")
    experiment.runs.to_pickle(path)
    notebook = nbformat.v4.new_notebook()
    own = "plot.scatter(runs, x='metrics.f1', ax=plt.subplots()[1])"
    later = ["%matplotlib inline\nimport matplotlib.pyplot as plt", *CALLS, own, "1 + 1"]
    cells = [SETUP.format(path=path), *CALLS, "1 + 1", *later]
    notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nbclient.NotebookClient(
            notebook,
            timeout=None,
            startup_timeout=1200,
            kernel_name="python3",
            extra_arguments=["--InlineBackend.figure_format=retina"],
        ).execute()
    assert [len(pictures(cell)) for cell in notebook.cells] == [
        *(0, *[1] * len(CALLS), 0),
        *(0, *[1] * len(CALLS), 1, 0),
    ]
    (output,) = pictures(notebook.cells[1])
    with Image.open(io.BytesIO(base64.b64decode(output.data["image/png"]))) as picture:
        assert picture.size == tuple(2 * size for size in output.metadata["image/png"].values())
    errors = [o for cell in notebook.cells for o in cell.outputs if o.output_type == "stream"]
    assert not errors


def test_importing_plot_does_not_import_heavy_packages():
    code = (
        "import sys, rvlab.plot; dir(rvlab.plot)\n"
        "slow = {'matplotlib', 'pandas', 'rasterio', 'torch', 'shapely', 'sklearn'}\n"
        "slow &= set(sys.modules)\n"
        "assert not slow, slow"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_plot_raises_attribute_error():
    from rvlab import plot

    with pytest.raises(AttributeError, match=r"No rvlab\.plot attribute curve"):
        _ = plot.curve
    assert dir(plot) == [call.partition("(")[0].removeprefix("plot.") for call in CALLS]
