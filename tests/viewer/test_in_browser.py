"""The viewer in JupyterLab and Chromium."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rvlab.plot._grid import colorize
from rvlab.plot._grid.colorize import choose_error_colors
from rvlab.raster import Classes
from tests.raster.samples import Experiment, photo, write
from tests.viewer.samples import boxed
from tests.viewer.test_viewer import read_prediction

pytestmark = pytest.mark.slow

BACKGROUND, BUILDING, ROAD = (217, 217, 217), (255, 165, 0), (70, 117, 180)
NAMES = ("background", "building", "road", "null")
CLASSES = Classes(NAMES, (BACKGROUND, BUILDING, ROAD, (0, 0, 0)), "null")

CELL = """
import json
import pandas as pd
from rvlab.viewer import viewer

runs = pd.DataFrame(json.loads({runs!r}))
windows = pd.DataFrame({windows!r}) if {windows!r} else None
shown = viewer(runs, windows=windows)
shown
"""

WINDOWS = [
    {"scene": "val-0", "col": 900, "row": 500, "width": 128, "height": 96, "score": 0.421},
    {"scene": "val-1", "col": 40, "row": 330, "width": 64, "height": 64, "score": 0.25},
]

PIXELS = """([side, tile]) => {
  const pane = document.querySelector(`.leaflet-${side}-pane`);
  const canvas = pane.querySelector(`canvas[data-tile="${tile}"]`);
  if (!canvas?.classList.contains("leaflet-tile-loaded")) return null;
  return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
}"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two scenes, the second without CRS, and four runs: one truncated, one without prediction."""
    made = Experiment(tmp_path_factory.mktemp("made"), scenes=2, size=(700, 1100))
    folders = [made.add(wrong, lr=lr) for wrong, lr in [(0.02, 0.01), (0.3, 0.1), (0.1, 1.0)]]
    made.add(0.1, lr="<b>10</b>", skip=list(made.truth))
    plain = made.truth["val-1"]
    write(made.root / "val-1.tif", photo(plain), crs=None)
    write(made.root / "val-1-labels.tif", plain, crs=None)
    for folder in folders:
        write(folder / "rv/predict/val-1/labels.tif", np.where(plain == 1, 2, plain), crs=None)
    broken = folders[2] / "rv/predict/val-0/labels.tif"
    broken.write_bytes(broken.read_bytes()[:400_000])  # its first pixels are readable
    return made


class Viewer:
    """A user's actions in the viewer, and what the page shows."""

    def __init__(self, page, folder):
        self.page, self.folder = page, folder

    @classmethod
    def opened(cls, page, jupyterlab, runs, folder, *, name, windows=(), dark=False):
        rows = json.dumps(runs.reset_index().to_dict("records"))
        page.goto(jupyterlab.notebook(name, CELL.format(runs=rows, windows=list(windows))))
        page.wait_for_function("window.jupyterapp?.shell?.currentWidget?.sessionContext?.isReady")
        if dark:
            run = "jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})"
            page.evaluate(run)
        page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
        page.wait_for_selector(".rvlab-viewer canvas, .jp-OutputArea-output[data-mime-type*=err]")
        page.evaluate("document.querySelector('.rvlab-viewer').scrollIntoView()")
        self = cls(page, folder)
        self.settle()
        return self

    def settle(self):
        """Wait until no request is pending."""
        self.page.wait_for_function(
            "document.querySelector('.rvlab-viewer')?.dataset.waiting === '0'"
        )

    def choose(self, *, scene="val-0", left="truth", right="run:0"):
        page = self.page
        page.click(".rvlab-whole")
        page.select_option(".rvlab-scene", scene)
        self.settle()
        for side, key in (("left", left), ("right", right)):
            page.select_option(f".rvlab-layer-{side}", key)
        self.settle()

    def tile(self, side, name):
        """Wait until a tile is drawn and return its pixels, shape (512, 512, 4)."""
        handle = self.page.wait_for_function(PIXELS, arg=[side, name])
        return np.array(handle.json_value(), np.uint8).reshape(512, 512, 4)

    def zoom(self, by):
        before = float(self.page.get_attribute(".rvlab-viewer", "data-zoom"))
        self.page.click(f".leaflet-control-zoom-{'in' if by > 0 else 'out'}")
        self.page.wait_for_function(
            f"Number(document.querySelector('.rvlab-viewer').dataset.zoom) === {before + by}"
        )
        self.settle()

    def clip(self, side):
        """Return the left and right end of the visible part of a pane, in map pixels."""
        return self.page.evaluate(
            """(side) => {
              const pane = document.querySelector(`.leaflet-${side}-pane`);
              const map = document.querySelector(".leaflet-map-pane").getBoundingClientRect();
              const frame = document.querySelector(".rvlab-frame").getBoundingClientRect();
              const xs = [...pane.style.clipPath.matchAll(/(-?[\\d.]+)px (-?[\\d.]+)px/g)];
              const at = xs.map((pair) => Number(pair[1]) + map.left - frame.left);
              return [Math.min(...at), Math.max(...at)];
            }""",
            side,
        )

    def middle(self, width, height):
        """Return the offset of a scene's centre from the centre of the map, in screen pixels."""
        zoom = 2 ** float(self.page.get_attribute(".rvlab-viewer", "data-zoom"))
        frame, first = (
            self.box(".rvlab-frame"),
            self.box(".leaflet-image-pane canvas[data-tile$='/0/0']"),
        )
        across = first["x"] - frame["x"] + (width * zoom - frame["width"]) / 2
        return across, first["y"] - frame["y"] + (height * zoom - frame["height"]) / 2

    def text(self, name):
        return self.page.text_content(f".rvlab-{name}")

    def box(self, name):
        return self.page.locator(name).last.bounding_box()

    def look(self, name):
        """Save a screenshot for visual inspection."""
        self.page.screenshot(path=self.folder / f"{name}.png")


@pytest.fixture(scope="module")
def viewer(browser, jupyterlab, made, tmp_path_factory):
    page = browser.new_page()
    folder = tmp_path_factory.mktemp("pictures")
    return Viewer.opened(page, jupyterlab, made.runs, folder, name="one", windows=WINDOWS)


def color_ids(ids, of=None):
    out = np.dstack([colorize.color_classes(ids, CLASSES), np.full(ids.shape, 255, np.uint8)])
    if of is not None:
        out[~np.isin(ids, of)] = 0
    return out


def test_tiles_have_the_colors_of_the_classes(viewer, made):
    viewer.choose(right="run:1")
    viewer.zoom(+1)  # one screen pixel per scene pixel
    assert (viewer.tile("left", "0/1/0") == color_ids(made.truth["val-0"][:512, 512:1024])).all()
    drawn = viewer.tile("right", "0/1/1")[: 700 - 512]
    assert (drawn == color_ids(read_prediction(made, 1)[512:, 512:1024])).all()
    image = viewer.tile("image", "0/1/0")[..., :3].astype(int)
    wanted = photo(made.truth["val-0"]).transpose(1, 2, 0)[:512, 512:1024]
    assert np.abs(image.mean((0, 1)) - wanted.mean((0, 1))).max() < 3
    viewer.look("scene")


def test_whole_scene_is_centred_in_the_map(viewer):
    for scene in ("val-1", "val-0"):
        viewer.choose(scene=scene)
        assert viewer.middle(1100, 700) == pytest.approx((0, 0), abs=1)


def test_divider_changes_the_visible_part_of_each_side(viewer):
    viewer.choose()
    frame, handle = viewer.box(".rvlab-frame"), viewer.box(".rvlab-divider")
    middle = frame["width"] / 2
    assert viewer.clip("left")[1] == pytest.approx(middle, abs=1)
    mouse = viewer.page.mouse
    mouse.move(handle["x"] + handle["width"] / 2, handle["y"] + 60)
    mouse.down()
    mouse.move(frame["x"] + 250, handle["y"] + 60, steps=4)
    mouse.up()
    assert viewer.clip("left") == pytest.approx([0, 250], abs=1)
    assert viewer.clip("right") == pytest.approx([250, frame["width"]], abs=1)
    viewer.page.focus(".rvlab-divider")
    for _ in range(5):
        viewer.page.keyboard.press("ArrowRight")
    assert viewer.clip("left")[1] == pytest.approx(250 + 0.1 * frame["width"], abs=3)


def test_divider_does_not_move_with_the_map(viewer):
    viewer.choose()
    before, map_pane = viewer.clip("right"), viewer.box(".leaflet-image-pane canvas")
    frame = viewer.box(".rvlab-frame")
    mouse = viewer.page.mouse
    mouse.move(frame["x"] + 100, frame["y"] + 300)
    mouse.down()
    mouse.move(frame["x"] + 160, frame["y"] + 330, steps=5)
    mouse.up()
    viewer.page.wait_for_function(
        "(x) => document.querySelector('.leaflet-image-pane canvas').getBoundingClientRect().x > x",
        arg=map_pane["x"] - 500,
    )
    assert viewer.clip("right") == pytest.approx(before, abs=1)


def test_keys_control_the_map_and_not_the_notebook(viewer):
    viewer.choose()
    page = viewer.page
    page.focus(".rvlab-map")
    before = viewer.box(".leaflet-image-pane canvas")["x"]
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "(x) => [...document.querySelectorAll('.leaflet-image-pane canvas')]"
        ".pop().getBoundingClientRect().x < x - 20",
        arg=before,
    )
    zoom = float(page.get_attribute(".rvlab-viewer", "data-zoom"))
    page.keyboard.press("+")
    page.wait_for_function(
        f"Number(document.querySelector('.rvlab-viewer').dataset.zoom) === {zoom + 1}"
    )
    assert page.locator(".jp-Notebook-cell").count() == 1


@pytest.mark.extended
def test_scene_without_crs_shows_its_tiles_and_a_scale_in_pixels(viewer, made):
    viewer.choose(scene="val-1")
    assert viewer.text("scale").endswith("px")
    viewer.zoom(+1)
    assert (viewer.tile("left", "0/1/0") == color_ids(made.truth["val-1"][:512, 512:1024])).all()
    assert (
        viewer.tile("right", "0/1/0")
        == color_ids(read_prediction(made, 0, "val-1")[:512, 512:1024])
    ).all()
    viewer.choose(scene="val-0")
    assert viewer.text("scale").endswith("m")


def test_next_worst_shows_and_outlines_the_window(viewer):
    viewer.choose()
    page = viewer.page
    assert page.is_disabled(".rvlab-previous")
    page.click(".rvlab-next")
    viewer.settle()
    assert viewer.text("caption") == "1 of 2 · score 0.421"
    frame, outline = viewer.box(".rvlab-frame"), viewer.box(".rvlab-window")
    assert outline["width"] / 128 == pytest.approx(outline["height"] / 96, rel=0.05)
    assert outline["width"] > 250
    for side, length in (("x", "width"), ("y", "height")):
        middle = outline[side] + outline[length] / 2 - frame[side]
        assert middle == pytest.approx(frame[length] / 2, abs=3)
    viewer.look("window")
    page.click(".rvlab-next")
    page.wait_for_function("document.querySelector('.rvlab-scene').value === 'val-1'")
    viewer.settle()
    page.wait_for_selector(".rvlab-window")
    assert viewer.text("caption") == "2 of 2 · score 0.25"
    assert page.is_disabled(".rvlab-next")
    page.click(".rvlab-previous")
    page.wait_for_function("document.querySelector('.rvlab-scene').value === 'val-0'")
    viewer.settle()


@pytest.mark.extended
def test_unchecked_class_is_hidden_on_both_sides(viewer, made):
    viewer.choose(right="run:1")
    viewer.zoom(+1)
    viewer.page.uncheck("input[value=background]")
    truth, guess = made.truth["val-0"][:512, 512:1024], read_prediction(made, 1)[:512, 512:1024]
    assert (viewer.tile("left", "0/1/0") == color_ids(truth, [1, 2])).all()
    assert (viewer.tile("right", "0/1/0") == color_ids(guess, [1, 2])).all()
    viewer.page.check("input[value=background]")
    assert (viewer.tile("left", "0/1/0") == color_ids(truth)).all()


def test_errors_layer_has_the_colors_of_the_picture_grid(viewer, made):
    viewer.choose(right="errors:1")
    viewer.zoom(+1)
    page = viewer.page
    page.uncheck("input[value=background]")
    page.check("input[value='true positive']")
    part = (slice(0, 512), slice(512, 1024))
    wanted = colorize.color_errors(
        made.truth["val-0"][part],
        read_prediction(made, 1)[part],
        CLASSES,
        [1, 2],
        colors=choose_error_colors(set(CLASSES.colors)),
    )
    assert (viewer.tile("right", "0/1/0") == wanted).all()
    page.hover(".rvlab-map", position={"x": 700, "y": 200})
    page.wait_for_selector(".rvlab-cursor:not(:empty)")
    text = viewer.text("cursor")
    assert text.startswith("col ")
    assert "(EPSG:32611)" in text
    assert "errors of lr = 0.1: " in text
    viewer.look("errors")
    page.uncheck("input[value='true positive']")
    page.check("input[value=background]")


def test_unreadable_run_shows_its_error_on_its_side(viewer):
    viewer.choose(right="run:2")
    message = viewer.page.wait_for_selector(".rvlab-half-right .rvlab-said:not(:empty)")
    assert message.text_content().startswith("rv/predict/val-0/labels.tif cannot be read")
    assert viewer.tile("left", "1/0/0")[..., 3].any()
    viewer.look("unreadable")
    viewer.choose(right="run:1")
    assert viewer.page.locator(".rvlab-half-right .rvlab-said:not(:empty)").count() == 0


def test_run_without_prediction_is_disabled(viewer):
    viewer.choose()
    option = viewer.page.locator(".rvlab-layer-right option[value='run:3']")
    title = "lr = <b>10</b> – rv/predict/val-0/labels.tif does not exist."
    assert option.text_content() == title  # as text, not as HTML
    assert option.is_disabled()


def test_viewer_follows_the_dark_theme_and_several_viewers_are_independent(
    page, jupyterlab, made, tmp_path
):
    viewer = Viewer.opened(
        page, jupyterlab, made.runs, tmp_path, name="dark", windows=WINDOWS, dark=True
    )
    page.wait_for_function("document.body.dataset.jpThemeLight === 'false'")
    colors = page.evaluate(
        """() => {
          const style = getComputedStyle(document.querySelector(".rvlab-viewer"));
          return [style.color, style.backgroundColor];
        }"""
    )
    light = [sum(int(n) for n in c[c.index("(") + 1 : -1].split(",")[:3]) for c in colors]
    assert light[0] - light[1] > 400
    viewer.look("dark")
    page.evaluate("jupyterapp.commands.execute('notebook:insert-cell-below')")
    page.evaluate(
        """() => {
          const model = jupyterapp.shell.currentWidget.content.activeCell.model;
          model.sharedModel.setSource("viewer(runs, group='validation', scene='val-1')");
        }"""
    )
    page.evaluate("jupyterapp.commands.execute('notebook:run-cell')")
    page.wait_for_function("document.querySelectorAll('.rvlab-viewer canvas').length > 0")
    page.wait_for_function(
        "[...document.querySelectorAll('.rvlab-scene')].map((s) => s.value).join() "
        "=== 'val-0,val-1'"
    )


@pytest.mark.extended
@pytest.mark.parametrize("task", ["object_detection", "chip_classification"])
def test_boxes_and_cells_are_drawn(page, jupyterlab, tmp_path, task):
    truth = [(1, 50, 50, 50, 50), (2, 100, 50, 50, 50), (1, 300, 150, 50, 50)]
    guess = [(1, 50, 50, 50, 50), (1, 100, 50, 50, 50), (2, 400, 200, 50, 50)]
    runs = boxed(tmp_path, task, truth, guess)
    viewer = Viewer.opened(page, jupyterlab, runs, tmp_path, name=task)
    drawn = viewer.tile("left", "0/0/0")
    assert viewer.middle(500, 300) == pytest.approx((0, 0), abs=1)
    assert drawn[50, 75, 3] == 255  # a line
    inside = drawn[75, 75].tolist()
    assert inside == ([*BUILDING, 255] if task == "chip_classification" else [0, 0, 0, 0])
    page.hover(".rvlab-map", position={"x": 20, "y": 20})
    viewer.look(f"{task}-labels")
    page.select_option(".rvlab-layer-right", "errors:0")
    viewer.settle()
    viewer.look(f"{task}-errors")
    page.uncheck("input[value=building]")
    page.wait_for_function(
        """() => {
          const canvas = document.querySelector('.leaflet-left-pane canvas');
          return canvas.getContext('2d').getImageData(75, 50, 1, 1).data[3] === 0;
        }"""
    )


@pytest.mark.extended
def test_close_removes_the_viewer_from_the_page(page, jupyterlab, made, tmp_path):
    Viewer.opened(page, jupyterlab, made.runs, tmp_path, name="closed")
    page.evaluate("jupyterapp.commands.execute('notebook:insert-cell-below')")
    page.evaluate(
        """() => {
          const model = jupyterapp.shell.currentWidget.content.activeCell.model;
          model.sharedModel.setSource("shown.close()");
        }"""
    )
    page.evaluate("jupyterapp.commands.execute('notebook:run-cell')")
    page.wait_for_selector(".rvlab-viewer", state="detached")
