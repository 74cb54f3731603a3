"""Runs of object detection and chip classification, for the viewer."""

from __future__ import annotations

import pandas as pd

from tests.raster.samples import config, photo, scene, town, write
from tests.raster.test_truth import box, feature, geojson, inference

HEIGHT, WIDTH = 300, 500
RUN = "20261123-154200-4f2a00"


def boxed(root, task, truth, guess) -> pd.DataFrame:
    """Write a run with one scene of boxes or cells.

    Args:
        root: Folder to write to.
        task: Raster Vision's name of the task.
        truth: ``(class, col, row, width, height)`` of each label.
        guess: The same for each prediction.
    """
    image = write(root / "image.tif", photo(town(HEIGHT, WIDTH)))
    files = {
        name: geojson(root / f"{name}.json", [_feature(task, *one) for one in rows])
        for name, rows in {"truth": truth, "guess": guess}.items()
    }
    vector = {"type_hint": "geojson_vector_source", "transformers": [inference()]}
    vector["uris"] = [files["truth"]]
    source = {"type_hint": f"{task}_label_source", "vector_source": vector}
    made = scene("a", image, image, None, label_source=source, label_store={"uri": files["guess"]})
    folder = root / "town" / RUN
    whole = config([made]) | {"type_hint": f"{task}_config"}
    write_config(folder, whole)
    return pd.DataFrame({"uri": [str(folder)]}, index=pd.Index([RUN], name="run"))


def write_config(folder, content):
    import json

    (folder / "rv").mkdir(parents=True)
    (folder / "rv/pipeline-config.json").write_text(json.dumps(content))


def _feature(task, class_id, *place):
    scores = {"scores": [0.0, 3.0, 1.0, 0.0]} if task == "chip_classification" else {"score": 0.75}
    return feature("Polygon", box(*place), class_id=class_id, **scores)
