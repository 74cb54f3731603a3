"""Object detection of buildings in small synthetic towns, no download.

Four training scenes by default and two for validation, RGB at 0.3 m in UTM zone 32N, with the
outlines of their buildings as GeoJSON. The scenes are drawn once for all runs of a store, as in
``synthetic_town``. The data set has no test scene, since Raster Vision cannot make chips for an
object detection with test scenes.

Needs: no data; the scenes are drawn.
"""

from typing import Annotated, Any

from pydantic import Field
from rastervision.core.data import (
    ClassConfig,
    DatasetConfig,
    GeoJSONVectorSourceConfig,
    ObjectDetectionGeoJSONStoreConfig,
    ObjectDetectionLabelSourceConfig,
    RasterioSourceConfig,
    SceneConfig,
)
from rastervision.core.rv_pipeline import (
    ObjectDetectionChipOptions,
    ObjectDetectionConfig,
    ObjectDetectionPredictOptions,
    ObjectDetectionWindowSamplingConfig,
    WindowSamplingMethod,
)
from rastervision.pytorch_backend import PyTorchObjectDetectionConfig
from rastervision.pytorch_learner import (
    ObjectDetectionGeoDataConfig,
    ObjectDetectionImageDataConfig,
    SolverConfig,
)

from rvlab.recipes import data_dir, models, town_scenes
from rvlab.recipes.value_limits import AtMost, validate_parameters

BOX_CLASSES = ("building",)
BOX_COLORS = ("#e4572e",)


@validate_parameters
def get_config(
    runner: Any,
    *,
    root_uri: str,
    data_uri: data_dir.SharedFolder = None,
    lr: Annotated[float, Field(gt=0)] = 3e-3,
    epochs: Annotated[int, Field(ge=1)] = 12,
    width: Annotated[int, Field(ge=1)] = 8,
    batch_size: Annotated[int, Field(ge=1)] = 4,
    chip_px: Annotated[int, Field(ge=64), AtMost("scene_px")] = 192,
    scene_px: Annotated[int, Field(ge=128)] = 512,
    train_scenes: Annotated[int, Field(ge=1)] = 4,
    validation_scenes: Annotated[int, Field(ge=1)] = 2,
    chips_per_scene: Annotated[int, Field(ge=1)] = 24,
    least_score: Annotated[float, Field(gt=0, lt=1)] = 0.5,
    data_seed: Annotated[int, Field(ge=0)] = 0,
    nochip: bool = False,
) -> ObjectDetectionConfig:
    """Train a small Faster R-CNN to find buildings.

    Args:
        runner: Given by Raster Vision.
        root_uri: Where this run's output goes.
        data_uri: Folder for the scenes, which are drawn once and reused; None means
            ``{root_uri}/data``.
        lr: Learning rate.
        epochs: Number of passes over the training chips.
        width: Channels of the model at full resolution.
        batch_size: Chips per training step.
        chip_px: Side of the chips that the model trains and predicts on, 64 or more.
        scene_px: Side of a scene, 128 or more: smaller ones have no building.
        train_scenes: Number of training scenes.
        validation_scenes: Number of scenes to score on; a test between two runs needs five or more.
        chips_per_scene: Number of chips that are cut from each scene, at random places.
        least_score: Score, from 0 to 1, below which a box is not predicted.
        data_seed: Seed of the towns; another seed draws other towns.
        nochip: Train directly from the scenes, without the chip step; each epoch has other chips.

    Raises:
        SpecError: If a value has the wrong type or is outside of its limits.
        StoreError: If the scenes cannot be written.
    """
    drawn = town_scenes.write_scenes(
        (root_uri, data_uri),
        counts={"train": train_scenes, "validation": validation_scenes},
        px=scene_px,
        seed=data_seed,
        kind=town_scenes.BUILDINGS,
    )
    dataset = DatasetConfig(
        class_config=ClassConfig(names=list(BOX_CLASSES), colors=list(BOX_COLORS)),
        train_scenes=[box_scene(files) for files in drawn["train"]],
        validation_scenes=[box_scene(files) for files in drawn["validation"]],
    )
    # A building at the edge of a chip is a label if 80 % of it is in the chip; its box is clipped.
    sampling = ObjectDetectionWindowSamplingConfig(
        method=WindowSamplingMethod.random,
        size=chip_px,
        size_lims=(chip_px, chip_px + 1),
        max_windows=chips_per_scene,
        ioa_thresh=0.8,
        clip=True,
    )
    # Without augmentors a seeded run can be repeated to four decimals.
    common = {"img_sz": chip_px, "num_workers": 0, "augmentors": []}
    data = (
        ObjectDetectionGeoDataConfig(scene_dataset=dataset, sampling=sampling, **common)
        if nochip
        else ObjectDetectionImageDataConfig(**common)
    )
    return ObjectDetectionConfig(
        root_uri=root_uri,
        dataset=dataset,
        backend=PyTorchObjectDetectionConfig(
            data=data,
            model=models.small_detector(
                data_dir.data_folder(root_uri, data_uri),
                classes=len(BOX_CLASSES),
                width=width,
                chip_px=chip_px,
            ),
            solver=SolverConfig(lr=lr, num_epochs=epochs, batch_sz=batch_size),
            log_tensorboard=False,
            run_tensorboard=False,
        ),
        chip_options=ObjectDetectionChipOptions(sampling=sampling),
        predict_options=ObjectDetectionPredictOptions(
            chip_sz=chip_px,
            stride=chip_px // 2,
            batch_sz=8,
            score_thresh=least_score,
            merge_thresh=0.3,
        ),
    )


def box_scene(files: town_scenes.SceneFiles) -> SceneConfig:
    """Return the config of one scene with its boxes and the store of its prediction."""
    return SceneConfig(
        id=files.name,
        raster_source=RasterioSourceConfig(uris=[files.image], channel_order=[0, 1, 2]),
        label_source=ObjectDetectionLabelSourceConfig(
            vector_source=GeoJSONVectorSourceConfig(uris=[files.labels])
        ),
        label_store=ObjectDetectionGeoJSONStoreConfig(),
    )
