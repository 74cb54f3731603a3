"""Windows of big rasters as arrays: imagery, labels and predictions of a run's scenes."""

from rvlab.raster.boxes import Boxes, Outcomes, outcomes, predicted_boxes, true_boxes
from rvlab.raster.chips import Predicted, confusion
from rvlab.raster.display import image
from rvlab.raster.labels import SceneLabels, prediction
from rvlab.raster.read import Chip, Grid, grid, read
from rvlab.raster.scene import Classes, Scene, classes, scene_named, scenes
from rvlab.raster.window import Window

__all__ = [
    "Boxes",
    "Chip",
    "Classes",
    "Grid",
    "Outcomes",
    "Predicted",
    "Scene",
    "SceneLabels",
    "Window",
    "classes",
    "confusion",
    "grid",
    "image",
    "outcomes",
    "predicted_boxes",
    "prediction",
    "read",
    "scene_named",
    "scenes",
    "true_boxes",
]
