"""Real runs of a recipe with ids from paths, vectorized buildings and a scene without labels."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from rvlab import Lab, plot
from rvlab.engines.local import LocalEngine
from rvlab.model import Run
from tests.conftest import TINY

pytestmark = pytest.mark.slow

LABELLED, BARE = "AOI_2/img205", "AOI_5/img1"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(tmp_path_factory.mktemp("unusual") / "store", LocalEngine(max_parallel=2))


@pytest.fixture(scope="module")
def table(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Two ended runs: with chips, and with windows that training reads from the scenes."""
    folder = tmp_path_factory.mktemp("recipe")
    shutil.copy(TINY.with_name("unusual.py"), folder)
    (folder / "unusual-weight.txt").write_text("2.5")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        runs = [lab.submit("unusual.py", nochip=nochip) for nochip in (False, True)]
        return lab.wait(runs, progress=False).sort_values("params.nochip")


def run_of(table: pd.DataFrame, row: int) -> Run:
    return Run.from_uri(table["uri"].iloc[row])


@pytest.mark.parametrize("row", [0, 1])
def test_run_succeeds_and_validation_has_its_metrics(
    lab: Lab, table: pd.DataFrame, row: int
) -> None:
    assert table["state"].iloc[row] == "succeeded", table["error"].iloc[row]
    assert 0 <= table["metrics.f1"].iloc[row] <= 1
    evals = lab.evals(run_of(table, row))
    assert set(evals["group"]) == {"validation"}
    assert set(evals["scene"].dropna()) == {LABELLED}
    assert set(lab.scenes(run_of(table, row))["scene"]) == {LABELLED}


def test_data_uri_is_a_column_and_the_users_folder(table: pd.DataFrame, lab: Lab) -> None:
    assert table["params.data_uri"].tolist() == ["scenes", "scenes"]
    assert not any(key.startswith("_data") for key, _ in lab.store.files())


@pytest.mark.parametrize("row", [0, 1])
def test_files_and_copies_are_stored_under_the_id_of_their_scene(
    lab: Lab, table: pd.DataFrame, row: int
) -> None:
    files = lab.artifacts(run_of(table, row))
    for kind in ("labels", "labels_copy"):
        assert set(files.loc[files["kind"] == kind, "scene"]) == {LABELLED, BARE}
    assert set(lab.windows(run_of(table, row))["scene"]) == {LABELLED}


def test_buildings_are_written_as_polygons(lab: Lab, table: pd.DataFrame) -> None:
    files = lab.artifacts(run_of(table, 0))
    vectors = files[files["kind"] == "vectors"].iloc[0]
    assert vectors["scene"] == LABELLED
    assert json.loads(Path(vectors["uri"]).read_text())["type"] == "FeatureCollection"


def test_files_beside_the_recipe_are_found(lab: Lab, table: pd.DataFrame) -> None:
    config = lab.store.get_json(run_of(table, 0).key("rv", "pipeline-config.json"))
    assert config["backend"]["solver"]["class_loss_weights"] == [1.0, 2.5, 2.0]


@pytest.mark.parametrize(("scene", "group"), [(LABELLED, "validation"), (BARE, "test")])
def test_scenes_are_drawn(table: pd.DataFrame, scene: str, group: str) -> None:
    figure = plot.predictions(table, scenes=[scene], group=group)
    texts = " ".join(t.get_text() for axes in figure.axes for t in axes.texts)
    assert "cannot" not in texts
    plt.close(figure)


def test_copies_are_read_in_place_of_predictions(lab: Lab, table: pd.DataFrame) -> None:
    from rvlab.raster.scene import load_run_source

    run = run_of(table, 0)
    source = load_run_source(run.id, run.uri)
    for name in (LABELLED, BARE):
        scene = source.scene(name)
        assert scene is not None
        assert str(scene.prediction_uri).endswith(f"copies/{name}/labels.tif")
        assert Path(str(scene.prediction_uri)).is_file()
