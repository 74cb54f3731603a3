"""Buildings and roads of small synthetic towns: no download, exact labels.

Four training scenes by default, two for validation and one for test, RGB at 0.3 m in UTM zone 32N,
with a raster of class ids for each. The scenes are drawn once for all runs of a store.

Needs: no data; the scenes are drawn.
"""

from typing import Annotated, Any

from pydantic import Field
from rastervision.core.data import (
    ClassConfig,
    DatasetConfig,
    RasterioSourceConfig,
    SceneConfig,
    SemanticSegmentationLabelSourceConfig,
    SemanticSegmentationLabelStoreConfig,
)
from rastervision.core.rv_pipeline import (
    SemanticSegmentationChipOptions,
    SemanticSegmentationConfig,
    SemanticSegmentationPredictOptions,
    WindowSamplingConfig,
    WindowSamplingMethod,
)
from rastervision.pytorch_backend import PyTorchSemanticSegmentationConfig
from rastervision.pytorch_learner import (
    SemanticSegmentationGeoDataConfig,
    SemanticSegmentationImageDataConfig,
    SolverConfig,
)

from rvlab.recipes import data_dir, models, town, town_scenes
from rvlab.recipes.value_limits import AtMost, validate_parameters


@validate_parameters
def get_config(
    runner: Any,
    *,
    root_uri: str,
    data_uri: data_dir.SharedFolder = None,
    lr: Annotated[float, Field(gt=0)] = 1e-2,
    epochs: Annotated[int, Field(ge=1)] = 12,
    width: Annotated[int, Field(ge=1)] = 8,
    batch_size: Annotated[int, Field(ge=1)] = 4,
    chip_px: Annotated[int, Field(ge=16), AtMost("scene_px")] = 128,
    scene_px: Annotated[int, Field(ge=64)] = 512,
    train_scenes: Annotated[int, Field(ge=1)] = 4,
    validation_scenes: Annotated[int, Field(ge=1)] = 2,
    building_weight: Annotated[float, Field(gt=0)] = 3.0,
    road_weight: Annotated[float, Field(gt=0)] = 2.0,
    data_seed: Annotated[int, Field(ge=0)] = 0,
    nochip: bool = False,
    keep_scores: bool = False,
) -> SemanticSegmentationConfig:
    """Train a small U-Net to segment buildings, roads and background.

    Args:
        runner: Given by Raster Vision.
        root_uri: Where this run's output goes.
        data_uri: Folder for the scenes, which are drawn once and reused; None means
            ``{root_uri}/data``.
        lr: Learning rate; the best found was 1e-2.
        epochs: Number of passes over the training chips.
        width: Channels of the U-Net at full resolution.
        batch_size: Chips per training step.
        chip_px: Side of the chips that the model trains and predicts on, 16 or more.
        scene_px: Side of a scene, 64 or more.
        train_scenes: Number of training scenes.
        validation_scenes: Number of scenes to score on; a test between two runs needs five or more.
        building_weight: Weight of buildings in the loss, where the background has 1.
        road_weight: Weight of roads in the loss.
        data_seed: Seed of the towns; another seed draws other towns.
        nochip: Train directly from the scenes, without the chip step.
        keep_scores: Store the scores of each class beside each prediction, one byte per pixel and
            class.

    Raises:
        SpecError: If a value has the wrong type or is outside of its limits.
        StoreError: If the scenes cannot be written.
    """
    drawn = town_scenes.write_scenes(
        (root_uri, data_uri),
        counts={"train": train_scenes, "validation": validation_scenes, "test": 1},
        px=scene_px,
        seed=data_seed,
        kind=town_scenes.CLASS_IDS,
    )

    dataset = DatasetConfig(
        class_config=ClassConfig(
            names=list(town.TOWN_CLASSES),
            colors=list(town.TOWN_COLORS),
            null_class=town.TOWN_CLASSES[0],
        ),
        train_scenes=[town_scene(files, keep_scores) for files in drawn["train"]],
        validation_scenes=[town_scene(files, keep_scores) for files in drawn["validation"]],
        test_scenes=[town_scene(files, keep_scores) for files in drawn["test"]],
    )
    sampling = WindowSamplingConfig(
        method=WindowSamplingMethod.sliding, size=chip_px, stride=chip_px
    )
    # Without augmentors a seeded run can be repeated to four decimals.
    common = {"img_sz": chip_px, "num_workers": 0, "augmentors": []}
    data = (
        SemanticSegmentationGeoDataConfig(scene_dataset=dataset, sampling=sampling, **common)
        if nochip
        else SemanticSegmentationImageDataConfig(**common)
    )
    return SemanticSegmentationConfig(
        root_uri=root_uri,
        dataset=dataset,
        backend=PyTorchSemanticSegmentationConfig(
            data=data,
            model=models.small_unet(
                data_dir.data_folder(root_uri, data_uri),
                classes=len(town.TOWN_CLASSES),
                width=width,
            ),
            solver=SolverConfig(
                lr=lr,
                num_epochs=epochs,
                batch_sz=batch_size,
                class_loss_weights=[1.0, building_weight, road_weight],
            ),
            log_tensorboard=False,
            run_tensorboard=False,
        ),
        chip_options=SemanticSegmentationChipOptions(sampling=sampling),
        predict_options=SemanticSegmentationPredictOptions(chip_sz=chip_px, batch_sz=8),
    )


def town_scene(files: town_scenes.SceneFiles, keep_scores: bool) -> SceneConfig:
    """Return the config of one scene with its labels and the store of its prediction."""
    return SceneConfig(
        id=files.name,
        raster_source=RasterioSourceConfig(uris=[files.image], channel_order=[0, 1, 2]),
        label_source=SemanticSegmentationLabelSourceConfig(
            raster_source=RasterioSourceConfig(uris=[files.labels])
        ),
        label_store=SemanticSegmentationLabelStoreConfig(
            smooth_output=keep_scores, smooth_as_uint8=True
        ),
    )
