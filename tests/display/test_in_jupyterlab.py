"""The displays of rvlab's objects in JupyterLab, in the light and in the dark theme."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rvlab.store import Store
from tests.browser import JupyterLab
from tests.frame.samples import Made
from tests.viewer.conftest import page  # noqa: F401  a fixture

pytestmark = pytest.mark.slow

CELLS = (
    """
import numpy as np
from rvlab import Lab, compare
from rvlab.model import Sweep
from tests.compare.samples import confusion, scene_matrices, table
lab = Lab({store!r})
matrices = scene_matrices(np.random.default_rng(0), 12, [0.2, 0.9])
sides = dict(zip("ab", matrices))
runs = table({{side: {{"metrics.f1": 0.5}} for side in sides}})
both = dict(confusion=confusion(sides), labels=("width 8", "width 4"), resamples=999)
lab
""",
    "compare.test(runs.loc[['b']], runs.loc[['a']], **both)",
    "both.pop('labels')\ncompare.gate(runs.loc[['a']], runs.loc[['b']], margin=0.05, **both)",
    "lab.logs('000002')",
    "lab.runs('twons')",
    "lab.best('towns')",
    "print('all cells ' + 'have run')",
)

CONTRASTS = """() => {
  const rgb = (color) => color.match(/[0-9.]+/g).map(Number);
  const light = (color) => {
    const [r, g, b] = rgb(color).slice(0, 3).map((v) => v / 255)
      .map((v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const color = getComputedStyle(one).backgroundColor;
      if (rgb(color)[3] !== 0) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const found = {};
  for (const element of document.querySelectorAll(".rvlab-show *")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || ["STYLE", "text"].includes(element.tagName)) continue;
    const [a, b] = [getComputedStyle(element).color, ground(element)].map(light);
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    found[element.textContent.trim().slice(0, 40)] = ratio;
  }
  return found;
}"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with two experiments, one with an active run."""
    made = Made(Store(tmp_path_factory.mktemp("store")))
    for lr, f1 in ((0.1, 0.5), (0.01, 0.7)):
        made.ended({"lr": lr}, {"f1": f1, "mean_iou": f1 - 0.1})
    run = made.ended({"lr": 0.001}, state="failed", step="train", error="out of memory")
    made.queued(experiment="roads")
    lines = b"".join(b"epoch %d: train_loss %.3f\n" % (n, 1 / (n + 1)) for n in range(60))
    bar = b"\rEpoch 0:   0%|     |\rEpoch 0: 100%|#####|\n"
    made.store.put(run.log_key("train"), lines + bar + b"\x1b[31mout of memory\x1b[0m <b>\n")
    return made.store


def test_displays_are_readable_in_both_themes(
    page: Any,  # noqa: F811  the fixture
    jupyterlab: JupyterLab,
    store: Store,
    tmp_path: Path,
) -> None:
    page.set_viewport_size({"width": 1280, "height": 2600})
    page.goto(
        jupyterlab.notebook("displays", *(c.format(store=store.uri) for c in CELLS[:1]), *CELLS[1:])
    )
    page.wait_for_function("window.jupyterapp?.shell?.currentWidget?.sessionContext?.isReady")
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_function(
        "[...document.querySelectorAll('.jp-OutputArea-output')]"
        ".some((o) => o.textContent.includes('all cells have run'))"
    )
    outputs = " ".join(page.locator(".jp-OutputArea-output").all_inner_texts())
    for text in ("towns", "better", "Epoch 0: 100%", "NotFound: No experiment or run 'twons'"):
        assert text in outputs
    for text in ("Epoch 0:   0%", "Traceback", "\x1b"):
        assert text not in outputs
    log = "document.querySelector('.rvlab-show pre')"
    assert page.evaluate(f"{log}.scrollHeight > {log}.clientHeight"), "a long log scrolls"
    end = f"{log}.querySelector('span').getBoundingClientRect().bottom"
    assert page.evaluate(f"{end} <= {log}.getBoundingClientRect().bottom + 1"), "its end is in view"
    for theme in ("Light", "Dark"):
        change = "(theme) => jupyterapp.commands.execute('apputils:change-theme', {theme})"
        page.evaluate(change, f"JupyterLab {theme}")
        page.wait_for_function(
            f"document.body.dataset.jpThemeLight === '{str(theme == 'Light').lower()}'"
        )
        page.screenshot(path=tmp_path / f"{theme}.png")
        contrasts = page.evaluate(CONTRASTS)
        assert len(contrasts) > 30
        assert {text: ratio for text, ratio in contrasts.items() if ratio < 4.5} == {}
