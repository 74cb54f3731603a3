"""A run with hostile texts, which must be displayed as text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rvlab.model import Run
from rvlab.store import Store
from tests.frame.samples import Made
from tests.raster.samples import CLASSES, Experiment, config

RUN_ID = "20261123-154200-4f2a00"  # the first run of an Experiment

HOSTILE = {
    "script": "<script>window.attacked=1</script>",
    "handler": '"><img src=x onerror="window.attacked=1">',
    "quote": "' onmouseover='window.attacked=1' x='",
    "closing": "</td></table></pre></style></script></title><svg onload=window.attacked=1>",
    "comment": "--><iframe srcdoc='<script>parent.attacked=1</script>'></iframe><!--",
    "url": "javascript:window.attacked=1",
    "link": "[click](javascript:window.attacked=1) <javascript:window.attacked=1>",
    "image": "![x](x?onerror=1) ![x](javascript:window.attacked=1 'x')",
    "entity": "&lt;script&gt;window.attacked=1&lt;/script&gt; &#60;b&#62;",
    "style": "red;background:url(http://127.0.0.1:9/attacked);}*{display:none}",
    "template": "{{ 7 * 7 }} {% raw %} ${7*7} #{7*7}",
    "unicode": "\u202egpj.\uff1cscript\uff1e\u2028\u0130<ScRiPt\u00a0>window.attacked=1</sCrIpT>",
    "cell": "a | b || `c` ~~d~~\n# heading\r\n- list",
}
"""Texts that run scripts, load resources or change the page if they are not escaped."""

ALL = " ".join(HOSTILE.values())


def hostile_run(root: Path, texts: Mapping[str, str] | None = None, **more: Any) -> Run:
    """Write a run with hostile texts in its records, metrics, tables and pictures.

    Args:
        root: Folder of the store.
        texts: Texts by kind; None uses `HOSTILE`.
        **more: Further arguments of `Made.ended`.
    """
    text = dict(HOSTILE if texts is None else texts)
    whole = " ".join(text.values())
    scene, road = text.get("handler", "val-1"), text.get("script", "road")
    long = text.get("closing", whole)
    experiment = Experiment(root, scenes=2)
    folder = experiment.add(0.1)
    described = [experiment.describe(name, folder) for name in experiment.truth]
    described[1]["id"] = scene
    classes = {"names": ["background", "building", road, "null"], "null_class": "null"}
    experiment.write_config(folder, config(described, classes={**CLASSES, **classes}))
    params = {f"p {words}": words for words in text.values()} | {"list": [whole, {whole: 1}]}
    metrics = {"f1": 0.75, "mean_iou": 0.6, f"f1.{whole}": 0.5}
    made = Made(Store(root))
    settings: dict[str, Any] = {"name": whole, "recipe": text.get("script", whole)}
    settings |= {"run": RUN_ID, "experiment": "town", "user": whole, **more}
    run = made.ended(params, metrics, **settings)
    rows = []
    for at_scene in (None, "val-0", scene):
        for cls in (None, long, road):
            for metric in ("precision", "recall", "f1", "iou"):
                at = {"group": "validation", "scene": at_scene, "class": cls, "metric": metric}
                rows.append({**at, "value": 0.5})
    made.table(run, "evals", rows)
    cells = [
        {"group": "validation", "scene": None, "truth": t, "prediction": p, "count": 5}
        for t in (long, road)
        for p in (long, road)
    ]
    made.table(run, "confusion", cells)
    made.store.put(run.key("rv", "train", "log.csv"), b"epoch,train_loss,val_loss\n0,1,2\n1,.5,1\n")
    return run
