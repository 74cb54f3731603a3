"""The kernel's answers to messages of the page, without a browser."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
import time
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import traitlets
from PIL import Image

from rvlab.errors import MissingExtra, NotFound, SpecError, TableError
from rvlab.plot._grid import colorize
from rvlab.raster import read
from rvlab.viewer import viewer
from rvlab.viewer.catalog import OUTSIDE_ID, Catalog
from rvlab.viewer.lifo_executor import LifoExecutor
from rvlab.viewer.tiles import TILE_PX, TileRef, top_level
from tests.raster.samples import Experiment, config, photo, write
from tests.raster.test_truth import box, feature, geojson
from tests.viewer.samples import boxed
from tests.waiting import wait_until

HEIGHT, WIDTH = 700, 1100


@pytest.fixture
def made(tmp_path):
    made = Experiment(tmp_path, scenes=2, size=(HEIGHT, WIDTH))
    made.add(0.1, lr=0.01)
    made.add(0.3, lr=0.1)
    return made


class Page:
    """A test double of the page that sends messages and stores the answers."""

    def __init__(self, shown):
        self.shown, self.answers, self._count = shown, [], 0
        self._changed = threading.Condition()
        shown.send = self._take

    def _take(self, content, buffers=None):
        with self._changed:
            self.answers.append((content, buffers))
            self._changed.notify_all()

    def ask(self, **content):
        """Send a message and return its answer."""
        before = len(self.answers)
        self.say(**content)
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.answers) > before)
        return self.answers[-1]

    def say(self, **content):
        self._count += 1
        self.shown._on_message(self.shown, {"id": f"p.{self._count}"} | content, [])

    def tile(self, layer, level=0, x=0, y=0, scene="val-0"):
        request = {"scene": scene, "layer": layer, "level": level, "x": x, "y": y}
        content, buffers = self.ask(kind="tile", **request)
        assert content["kind"] == "tile", content
        return content, buffers[0]

    def ids(self, *args, **kwargs):
        """Return the planes of a tile."""
        content, data = self.tile(*args, **kwargs)
        assert content["form"] == "ids"
        planes = np.frombuffer(zlib.decompress(data), np.uint8)
        return planes.reshape(-1, content["rows"], content["cols"])

    def rows(self, layer):
        """Return the boxes of a layer, one row per box."""
        content, (data,) = self.ask(kind="boxes", scene="a", layer=layer)
        return np.frombuffer(data, "<f4").reshape(content["rows"], content["cols"])


@pytest.fixture
def page(made):
    shown = viewer(made.runs)
    yield Page(shown)
    shown.close()


def read_prediction(made, run, scene="val-0"):
    """Read a run's prediction from its file."""
    return read(f"{made.rows[run]['uri']}/rv/predict/{scene}/labels.tif", max_px=None).array[0]


@pytest.mark.parametrize(("x", "y"), [(0, 0), (1, 0), (2, 0), (0, 1), (2, 1)])
def test_tiles_have_the_pixels_of_the_arrays_and_end_at_the_edge(made, page, x, y):
    part = (slice(512 * y, 512 * (y + 1)), slice(512 * x, 512 * (x + 1)))
    truth, guess = made.truth["val-0"], read_prediction(made, 1)
    assert (page.ids("truth", x=x, y=y)[0] == truth[part]).all()
    assert (page.ids("run:1", x=x, y=y)[0] == guess[part]).all()
    both = page.ids("errors:1", x=x, y=y)
    assert (both == np.stack([truth[part], guess[part]])).all()


@pytest.mark.parametrize("level", [1, 2])
def test_tiles_of_higher_levels_use_nearest_resampling(made, page, level):
    step = 2**level
    found = page.ids("truth", level=level)[0]
    rows, cols = min(512, -(-HEIGHT // step)), min(512, -(-WIDTH // step))
    assert found.shape == (rows, cols)
    nearest = made.truth["val-0"][step // 2 :: step, step // 2 :: step][:rows, :cols]
    assert (found == nearest[: found.shape[0], : found.shape[1]]).mean() > 0.999


@pytest.mark.parametrize(("group", "top"), [("validation", 350), ("train", 0)])
def test_scene_in_several_groups_is_shown_for_the_given_group(made, group, top):
    folder = Path(made.rows[0]["uri"])
    described = []
    for name, row in (("train", 0), ("validation", 350)):
        area = feature("Polygon", box(0, row, WIDTH, 350))
        area_uri = geojson(folder / f"{name}.json", [area])
        described.append(made.describe("val-0", folder) | {"aoi_uris": [area_uri]})
    made.write_config(folder, config(described[1:], train=described[:1]))
    page = Page(viewer(made.runs.head(1), group=group))
    known = page.ids("errors:0")[0]
    inside = np.zeros(known.shape, bool)
    inside[top : top + 350] = True
    assert ((known != 255) == inside).all()
    for layer in ("truth", "run:0"):
        assert ((page.ids(layer)[0] != OUTSIDE_ID) == inside).all()
    picture = np.asarray(Image.open(io.BytesIO(page.tile("image")[1])).convert("HSV"))
    assert picture[~inside, 1].mean() < 20 < picture[inside, 1].mean()  # grey outside
    page.shown.close()


def test_image_tile_has_the_colors_of_the_image(page, made):
    content, data = page.tile("image", x=2, y=1)
    assert (content["rows"], content["cols"]) == (HEIGHT - 512, WIDTH - 1024)
    found = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    wanted = photo(made.truth["val-0"]).transpose(1, 2, 0)[512:, 1024:].astype(int)
    assert np.abs(found - wanted).mean() < 8  # lossy compression smooths the noise
    assert np.abs(found.mean((0, 1)) - wanted.mean((0, 1))).max() < 2


def test_tiles_of_a_uint16_image_share_one_stretch(made):
    steps = np.linspace(0, 40_000, WIDTH).astype(np.uint16)
    write(made.root / "val-0.tif", np.tile(steps, (3, HEIGHT, 1)))
    page = Page(viewer(made.runs))
    ends = []
    for x in range(3):
        data = page.tile("image", x=x)[1]
        ends.append(np.asarray(Image.open(io.BytesIO(data)).convert("L")).astype(int))
    assert abs(ends[0][:, -1].mean() - ends[1][:, 0].mean()) < 4
    assert abs(ends[1][:, -1].mean() - ends[2][:, 0].mean()) < 4
    page.shown.close()


def test_scene_without_crs_has_no_map_coordinates(made):
    write(made.root / "val-0.tif", photo(made.truth["val-0"]), crs=None)
    page = Page(viewer(made.runs))
    about = page.ask(kind="scene", scene="val-0")[0]["about"]
    assert (about["transform"], about["crs"], about["metres"]) == (None, None, None)
    assert (about["width"], about["height"], about["levels"]) == (WIDTH, HEIGHT, 2)
    assert about["unfit"] == {}
    assert (page.ids("run:0")[0] == read_prediction(made, 0)[:512, :512]).all()
    page.shown.close()


def test_scene_info_has_georeference_and_classes(page):
    about = page.ask(kind="scene", scene="val-1")[0]["about"]
    assert about["transform"] == [0.5, 0, 663_000, 0, -0.5, 3_999_000]
    assert (about["crs"], about["metres"], about["unlabelled"]) == ("EPSG:32611", 0.5, 3)
    assert about["classes"][1] == {"name": "building", "color": [255, 165, 0]}
    assert page.shown.spec["legend"]["errors"][0] == {
        "name": "true positive",
        "color": [*colorize.TRUE_POSITIVE],
    }


def test_scene_info_gives_the_reason_for_each_unusable_layer(made):
    other = {"names": ["a", "b"], "colors": ["red", "blue"]}
    made.add(0.1, classes=other, lr=1.0)
    made.add(0.1, skip=["val-0"], lr=2.0)
    write(made.add(0.1, lr=3.0) / "rv/predict/val-0/labels.tif", np.zeros((10, 20), np.uint8))
    page = Page(viewer(made.runs))
    unfit = page.ask(kind="scene", scene="val-0")[0]["about"]["unfit"]
    assert set(unfit) == {f"{kind}:{i}" for kind in ("run", "errors") for i in (2, 3, 4)}
    assert unfit["run:2"].startswith("Its classes are a, b; those of 20261123-154200")
    assert unfit["errors:3"] == "rv/predict/val-0/labels.tif does not exist."
    assert unfit["run:4"].startswith("The prediction has 20 × 10 px, the scene 1100 × 700 px.")
    page.shown.close()


def test_unreadable_layer_answers_with_its_error_and_others_still_work(made, page):
    file = made.root / "town" / made.rows[0]["run"] / "rv/predict/val-0/labels.tif"
    file.write_bytes(file.read_bytes()[:400_000])
    request = {"kind": "tile", "scene": "val-0", "level": 0, "x": 0, "y": 1}
    content, _ = page.ask(layer="run:0", **request)
    assert content["kind"] == "failed"
    assert content["words"].startswith("rv/predict/val-0/labels.tif cannot be read")
    assert page.ask(layer="run:1", **request)[0]["kind"] == "tile"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"kind": "shell"}, "of an unknown kind"),
        ({"kind": ["tile"]}, "of an unknown kind"),
        ({"kind": "scene", "scene": "../../etc"}, "has no scene '../../etc'"),
        ({"kind": "scene"}, "'scene' in a message must be a string"),
        ({"kind": "tile", "layer": "/etc/passwd"}, "has no layer '/etc/passwd'"),
        ({"kind": "tile", "layer": {}}, "'layer' in a message must be a string"),
        ({"kind": "tile", "scene": "val-9"}, "has no scene 'val-9'"),
        ({"kind": "tile", "level": -1}, "'level' in a message must be an integer"),
        ({"kind": "tile", "level": True}, "'level' in a message must be an integer"),
        ({"kind": "tile", "x": 1.5}, "'x' in a message must be an integer"),
        ({"kind": "tile", "x": 2**40}, "'x' in a message must be an integer"),
        ({"kind": "tile", "id": None}, "'id' in a message must be a string"),
        ({"kind": "boxes", "layer": "run:7"}, "has no layer 'run:7'"),
        ({"kind": "drop", "ids": "p.1"}, "must have a list of request ids"),
    ],
)  # fmt: skip
def test_invalid_messages_are_rejected(page, content, why):
    good = {"scene": "val-0", "layer": "truth", "level": 0, "x": 0, "y": 0}
    if content["kind"] == "scene" and "scene" not in content:
        good.pop("scene")
    answer, buffers = page.ask(**good | content)
    assert answer["kind"] == "refused"
    assert why in answer["words"]
    assert buffers is None


@pytest.mark.parametrize(("level", "x", "y"), [(0, 3, 0), (0, 0, 2), (3, 0, 0), (2, 1, 0)])
def test_tile_outside_the_scene_is_an_error(page, level, x, y):
    request = {"scene": "val-0", "layer": "truth", "level": level, "x": x, "y": y}
    content, _ = page.ask(kind="tile", **request)
    assert content["kind"] == "failed"
    assert content["words"].startswith(f"Tile {x}, {y} at level {level} is outside a scene")


def test_tiles_of_each_level_cover_a_scene_exactly_once():
    for width, height in [(1, 1), (512, 512), (513, 40), (5000, 1700)]:
        for level in range(top_level(width, height) + 1):
            side = TILE_PX << level
            tiles = [
                TileRef(level, x, y)
                for x in range(-(-width // side))
                for y in range(-(-height // side))
            ]
            assert sum(s.window(width, height).area for s in tiles) == width * height
        assert TileRef(level, 0, 0).window(width, height).area == width * height


def test_widget_state_has_no_address(made, page):
    state = dict(page.shown.get_state())
    text = repr({k: v for k, v in state.items() if k not in ("_esm", "_css")})
    assert str(made.root) not in text
    assert "run:1" in text


def test_traits_accept_only_existing_scenes_and_layers(page):
    page.shown.scene, page.shown.left = "val-1", "errors:0"
    with pytest.raises(
        traitlets.TraitError, match=r"scene cannot be 'val-7'\. Did you mean 'val-1'"
    ):
        page.shown.scene = "val-7"
    assert page.shown.scene == "val-1"


OD, CC = "object_detection", "chip_classification"


def test_boxes_are_rows_and_false_positives_have_no_label_class(tmp_path):
    truth = [(1, 10, 10, 40, 30), (2, 100, 50, 40, 30)]
    guess = [(1, 12, 11, 40, 30), (2, 300, 200, 40, 30)]
    page = Page(viewer(boxed(tmp_path, OD, truth, guess)))
    about = page.ask(kind="scene", scene="a")[0]["about"]
    assert (about["boxes"], about["cells"], about["unfit"]) == (True, False, {})
    found = page.rows("truth")
    assert found[:, :6].tolist() == [[10, 10, 50, 40, 1, -1], [100, 50, 140, 80, 2, -1]]
    found = page.rows("run:0")
    assert found[:, :6].tolist() == [[12, 11, 52, 41, -1, 1], [300, 200, 340, 230, -1, 2]]
    assert found[:, 6].tolist() == [0.75, 0.75]
    assert page.rows("errors:0")[:, 4:6].tolist() == [[1, 1], [-1, 2], [2, -1]]
    page.shown.close()


def test_cell_rows_have_the_class_of_their_label(tmp_path):
    truth = [(1, 0, 0, 50, 50), (2, 50, 0, 50, 50)]
    guess = [(2, 50, 0, 50, 50), (2, 0, 0, 50, 50), (1, 200, 200, 50, 50)]
    page = Page(viewer(boxed(tmp_path, CC, truth, guess)))
    assert page.ask(kind="scene", scene="a")[0]["about"]["cells"] is True
    assert page.rows("errors:0")[:, [0, 4, 5]].tolist() == [[50, 2, 2], [0, 1, 2]]
    page.shown.close()


def test_windows_are_in_the_order_of_the_table(made):
    rows = [
        {"scene": "val-1", "col": 5, "row": 6, "width": 7, "height": 8, "score": 0.51234},
        {"scene": "val-0", "col": 1.0, "row": 2, "width": 3, "height": 4, "score": None},
    ]
    shown = viewer(made.runs, windows=pd.DataFrame(rows))
    first = {"scene": "val-1", "words": "score 0.5123", "col": 5, "row": 6, "width": 7, "height": 8}
    assert shown.spec["windows"][0] == first
    assert shown.spec["windows"][1]["words"] == "score –"
    assert (shown.scene, shown.left, shown.right) == ("val-1", "truth", "run:0")
    shown.close()


def test_invalid_arguments_raise_errors_with_suggestions(made):
    with pytest.raises(NotFound, match=r"No run has a scene 'val-2'\. Did you mean 'val-[01]'"):
        viewer(made.runs, scene="val-2")
    with pytest.raises(NotFound, match=r"Unknown group 'valid'\. Did you mean 'validation'"):
        viewer(made.runs, group="valid")
    with pytest.raises(TableError, match="width"):
        viewer(made.runs, windows=pd.DataFrame({"scene": ["val-0"], "col": [1], "row": [1]}))
    with pytest.raises(SpecError, match="height_px must be 200 to 4000 pixels, got 10"):
        viewer(made.runs, height_px=10)
    with pytest.raises(TableError, match="uri"):
        viewer(made.runs.drop(columns="uri"))


def test_viewer_without_scenes_shows_a_message(made, tmp_path):
    empty = viewer(made.runs.head(0))
    assert empty.spec["words"] == "No runs: the table is empty."
    none = viewer(made.runs, group="test")
    assert none.spec["words"] == "The runs have no scenes in the group 'test'."
    lost = viewer(made.runs.assign(uri=str(tmp_path / "town/20261123-154209-ffffff")))
    assert "pipeline-config.json" in lost.spec["words"]
    for shown in (empty, none, lost):
        shown.close()


def test_executor_runs_the_newest_call_first_and_skips_cancelled_calls():
    gate, done = threading.Event(), []
    executor = LifoExecutor(threads=1)
    executor.submit("first", gate.wait, done.append)
    while not executor.threads or executor._jobs:
        time.sleep(0.01)
    for name in "abcd":
        executor.submit(name, name.upper, done.append)
    executor.cancel(["b", "unknown"])
    gate.set()
    executor.submit("e", lambda: "e", done.append)
    wait_until(lambda: len(done) == 5)
    assert done[0] is True
    assert done[-2:] == ["C", "A"]
    assert "B" not in done
    executor.close()


def test_idle_threads_exit_and_restart_on_demand():
    done = []
    executor = LifoExecutor(threads=3, idle_s=0.05)
    for i in range(20):
        executor.submit(i, partial(int, i), done.append)
    wait_until(lambda: not executor.threads)
    assert sorted(done) == list(range(20))
    executor.submit("again", lambda: "again", done.append)
    wait_until(lambda: done[-1] == "again")


def test_failed_call_returns_its_error_and_the_thread_continues():
    done = []
    executor = LifoExecutor(threads=1)
    executor.submit(0, lambda: 1 / 0, done.append)
    wait_until(lambda: done)
    assert str(done[0]) == "Drawing failed: ZeroDivisionError: division by zero"
    executor.submit(1, lambda: "fine", done.append)
    wait_until(lambda: done[-1] == "fine")
    executor.close()


def test_close_stops_the_threads_and_sends_nothing_more(made):
    page = Page(viewer(made.runs))
    page.tile("truth")
    page.shown.close()
    wait_until(lambda: not page.shown._executor.threads)
    page.say(kind="tile", scene="val-0", layer="run:0", level=0, x=0, y=0)
    page.say(kind="shell")
    assert len(page.answers) == 1
    assert not page.shown._executor.threads


def test_two_viewers_of_the_same_runs_are_independent(made):
    one, two = Page(viewer(made.runs)), Page(viewer(made.runs))
    one.shown.close()
    assert (two.ids("truth")[0] == made.truth["val-0"][:512, :512]).all()
    assert one.answers == []
    two.shown.close()


def test_recent_tiles_are_cached_up_to_a_size(made, monkeypatch):
    drawn = []
    tile = Catalog.tile
    monkeypatch.setattr(Catalog, "tile", lambda *args: drawn.append(args[3].x) or tile(*args))
    page = Page(viewer(made.runs))
    size = sum(len(page.tile("truth", x=x)[1]) for x in range(3))
    page.shown.close()
    monkeypatch.setattr("rvlab.viewer.widget.CACHE_BYTES", size - 1)
    page = Page(viewer(made.runs))
    drawn.clear()
    for x in (0, 1, 0, 2, 0, 1):
        page.tile("truth", x=x)
    assert drawn == [0, 1, 2, 1]
    page.shown.close()
    assert not page.shown._cache


def test_tile_larger_than_the_cache_is_drawn(made, monkeypatch):
    monkeypatch.setattr("rvlab.viewer.widget.CACHE_BYTES", 1)
    page = Page(viewer(made.runs))
    assert page.tile("truth")[1] == page.tile("truth")[1]
    page.shown.close()


def test_error_without_anywidget_names_the_extra(made, monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    monkeypatch.delitem(sys.modules, "rvlab.viewer.widget", raising=False)
    with pytest.raises(MissingExtra, match=r"pip install 'rvlab\[local\]'"):
        viewer(made.runs)


def test_importing_rvlab_and_the_viewer_does_not_import_widgets():
    code = "import rvlab, rvlab.viewer, sys; print({'anywidget', 'ipywidgets'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
