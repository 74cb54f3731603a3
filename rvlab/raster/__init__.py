"""Read windows of large rasters as arrays: imagery, labels and predictions of a run's scenes."""

from rvlab.raster.boxes import Boxes, Outcomes, match_outcomes, predicted_boxes, truth_boxes
from rvlab.raster.config import Classes, classes_from_config
from rvlab.raster.display import image
from rvlab.raster.labels import SceneLabels, prediction
from rvlab.raster.read import Chip, Grid, read, read_grid
from rvlab.raster.scene import Scene, find_scene, scenes_from_config
from rvlab.raster.window import Window

__all__ = [
    "Boxes",
    "Chip",
    "Classes",
    "Grid",
    "Outcomes",
    "Scene",
    "SceneLabels",
    "Window",
    "classes_from_config",
    "find_scene",
    "image",
    "match_outcomes",
    "predicted_boxes",
    "prediction",
    "read",
    "read_grid",
    "scenes_from_config",
    "truth_boxes",
]
