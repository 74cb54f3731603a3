"""Chip classification of small synthetic towns: cells with and without a building, no download.

Four training scenes by default, two for validation and one for test, RGB at 0.3 m in UTM zone 32N,
with the outlines of their buildings as GeoJSON. The scenes are drawn once for all runs of a store,
as in ``synthetic_town``.

Needs: no data; the scenes are drawn.
"""

from typing import Annotated, Any

from pydantic import Field
from rastervision.core.data import (
    ChipClassificationGeoJSONStoreConfig,
    ChipClassificationLabelSourceConfig,
    ClassConfig,
    DatasetConfig,
    GeoJSONVectorSourceConfig,
    RasterioSourceConfig,
    SceneConfig,
)
from rastervision.core.rv_pipeline import (
    ChipClassificationConfig,
    ChipOptions,
    PredictOptions,
    WindowSamplingConfig,
    WindowSamplingMethod,
)
from rastervision.pytorch_backend import PyTorchChipClassificationConfig
from rastervision.pytorch_learner import (
    ClassificationGeoDataConfig,
    ClassificationImageDataConfig,
    SolverConfig,
)

from rvlab.recipes import data_dir, models, town_scenes
from rvlab.recipes.value_limits import AtMost, validate_parameters

CELL_CLASSES = ("building", "no_building")
CELL_COLORS = ("#e4572e", "#3d5a3a")


@validate_parameters
def get_config(
    runner: Any,
    *,
    root_uri: str,
    data_uri: data_dir.SharedFolder = None,
    lr: Annotated[float, Field(gt=0)] = 1e-2,
    epochs: Annotated[int, Field(ge=1)] = 8,
    width: Annotated[int, Field(ge=1)] = 8,
    batch_size: Annotated[int, Field(ge=1)] = 16,
    chip_px: Annotated[int, Field(ge=16), AtMost("scene_px")] = 64,
    stride_px: Annotated[int, Field(ge=1)] = 32,
    scene_px: Annotated[int, Field(ge=128)] = 512,
    train_scenes: Annotated[int, Field(ge=1)] = 4,
    validation_scenes: Annotated[int, Field(ge=1)] = 2,
    least_share: Annotated[float, Field(gt=0, lt=1)] = 0.1,
    data_seed: Annotated[int, Field(ge=0)] = 0,
    nochip: bool = False,
) -> ChipClassificationConfig:
    """Train a small convolutional network to classify cells with and without a building.

    Args:
        runner: Given by Raster Vision.
        root_uri: Where this run's output goes.
        data_uri: Folder for the scenes, which are drawn once and reused; None means
            ``{root_uri}/data``.
        lr: Learning rate.
        epochs: Number of passes over the training chips.
        width: Channels of the network at full resolution.
        batch_size: Chips per training step.
        chip_px: Side of the cells that a scene is divided into, 16 or more.
        stride_px: Distance between one training chip and the next.
        scene_px: Side of a scene, 128 or more: smaller ones have no building.
        train_scenes: Number of training scenes.
        validation_scenes: Number of scenes to score on; a test between two runs needs five or more.
        least_share: Fraction of a cell, from 0 to 1, that a building must cover to make its class
            ``building``.
        data_seed: Seed of the towns; another seed draws other towns.
        nochip: Train directly from the scenes, without the chip step.

    Raises:
        SpecError: If a value has the wrong type or is outside of its limits.
        StoreError: If the scenes cannot be written.
    """
    drawn = town_scenes.write_scenes(
        (root_uri, data_uri),
        counts={"train": train_scenes, "validation": validation_scenes, "test": 1},
        px=scene_px,
        seed=data_seed,
        kind=town_scenes.BUILDINGS,
    )
    scenes = {
        group: [cell_scene(one, cell_px=chip_px, least_share=least_share) for one in files]
        for group, files in drawn.items()
    }
    dataset = DatasetConfig(
        class_config=ClassConfig(names=list(CELL_CLASSES), colors=list(CELL_COLORS)),
        train_scenes=scenes["train"],
        validation_scenes=scenes["validation"],
        test_scenes=scenes["test"],
    )
    sampling = WindowSamplingConfig(
        method=WindowSamplingMethod.sliding, size=chip_px, stride=stride_px
    )
    # Without augmentors a seeded run can be repeated to four decimals.
    common = {"img_sz": chip_px, "num_workers": 0, "augmentors": []}
    data = (
        ClassificationGeoDataConfig(scene_dataset=dataset, sampling=sampling, **common)
        if nochip
        else ClassificationImageDataConfig(**common)
    )
    return ChipClassificationConfig(
        root_uri=root_uri,
        dataset=dataset,
        backend=PyTorchChipClassificationConfig(
            data=data,
            model=models.small_convnet(
                data_dir.data_folder(root_uri, data_uri), classes=len(CELL_CLASSES), width=width
            ),
            solver=SolverConfig(lr=lr, num_epochs=epochs, batch_sz=batch_size),
            log_tensorboard=False,
            run_tensorboard=False,
        ),
        chip_options=ChipOptions(sampling=sampling),
        predict_options=PredictOptions(chip_sz=chip_px, batch_sz=64),
    )


def cell_scene(files: town_scenes.SceneFiles, *, cell_px: int, least_share: float) -> SceneConfig:
    """Return the config of one scene with its cell labels and the store of its prediction."""
    return SceneConfig(
        id=files.name,
        raster_source=RasterioSourceConfig(uris=[files.image], channel_order=[0, 1, 2]),
        label_source=ChipClassificationLabelSourceConfig(
            vector_source=GeoJSONVectorSourceConfig(uris=[files.labels]),
            infer_cells=True,
            cell_sz=cell_px,
            ioa_thresh=least_share,
            use_intersection_over_cell=True,
            background_class_id=CELL_CLASSES.index("no_building"),
        ),
        label_store=ChipClassificationGeoJSONStoreConfig(),
    )
