"""Buildings and roads of small towns that seeded code draws: nothing to fetch, every label exact.

Four training scenes by default, two for validation and one for test, RGB at 0.3 m in UTM zone 32N,
with a raster of class ids for each. The scenes are drawn once for all runs of a store.
"""

from functools import lru_cache, partial
from pathlib import Path
from typing import Any

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

from rvlab.recipes import geotiff, hub, place, town, values

CRS = "EPSG:32632"
SPLITS = ("train", "validation", "test")


def get_config(
    runner: Any,
    *,
    root_uri: str,
    data_uri: str | None = None,
    lr: float = 1e-2,
    epochs: int = 12,
    width: int = 8,
    batch_size: int = 4,
    chip_px: int = 128,
    scene_px: int = 512,
    train_scenes: int = 4,
    validation_scenes: int = 2,
    building_weight: float = 3.0,
    road_weight: float = 2.0,
    data_seed: int = 0,
    nochip: bool = False,
) -> SemanticSegmentationConfig:
    """Train a small U-Net to tell buildings and roads from the background.

    Args:
        runner: Given by Raster Vision.
        root_uri: Where this run's output goes.
        data_uri: Folder that the scenes are drawn into once, and found in again; None means
            ``{root_uri}/data``.
        lr: Learning rate; the best found was 1e-2.
        epochs: How often training sees every chip.
        width: Channels of the U-Net at full resolution.
        batch_size: Chips per training step.
        chip_px: Side of the chips that the model trains and predicts on, 16 or more.
        scene_px: Side of a scene, 64 or more.
        train_scenes: Number of training scenes.
        validation_scenes: Number of scenes to score on; a test between two runs needs five or more.
        building_weight: Weight of buildings in the loss, where the background has 1.
        road_weight: Weight of roads in the loss.
        data_seed: Other numbers draw other towns.
        nochip: Train straight from the scenes, without the chip step.

    Raises:
        SpecError: If a value makes no sense.
        StoreError: If the scenes cannot be written.
    """
    lr = values.positive("lr", lr)
    epochs = values.whole("epochs", epochs, least=1)
    width = values.whole("width", width, least=1)
    batch_size = values.whole("batch_size", batch_size, least=1)
    chip_px = values.whole("chip_px", chip_px, least=16)
    scene_px = values.whole("scene_px", scene_px, least=64)
    train_scenes = values.whole("train_scenes", train_scenes, least=1)
    validation_scenes = values.whole("validation_scenes", validation_scenes, least=1)
    building_weight = values.positive("building_weight", building_weight)
    road_weight = values.positive("road_weight", road_weight)
    data_seed = values.whole("data_seed", data_seed, least=0)
    nochip = values.flag("nochip", nochip)
    values.chip_fits(chip_px, scene_px)

    counts = {"train": train_scenes, "validation": validation_scenes, "test": 1}
    places = [(split, i) for split in SPLITS for i in range(counts[split])]
    folder = place.folder(root_uri, data_uri, f"town-v{town.VERSION}-seed{data_seed}-{scene_px}px")
    makers = {}
    for split, i in places:
        one = partial(draw, split=split, number=i, px=scene_px, seed=data_seed)
        makers[f"{split}-{i}.tif"] = partial(one, what="image")
        makers[f"{split}-{i}-labels.tif"] = partial(one, what="labels")
    uris = place.fill(folder, makers)
    scenes: dict[str, list[SceneConfig]] = {split: [] for split in SPLITS}
    for split, i in places:
        name = f"{split}-{i}"
        scenes[split].append(scene(name, uris[f"{name}.tif"], uris[f"{name}-labels.tif"]))

    dataset = DatasetConfig(
        class_config=ClassConfig(
            names=list(town.CLASSES), colors=list(town.COLORS), null_class=town.CLASSES[0]
        ),
        train_scenes=scenes["train"],
        validation_scenes=scenes["validation"],
        test_scenes=scenes["test"],
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
            model=hub.small_unet(
                place.folder(root_uri, data_uri), classes=len(town.CLASSES), width=width
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


def scene(name: str, image_uri: str, labels_uri: str) -> SceneConfig:
    """One scene, its labels, and where its prediction goes."""
    return SceneConfig(
        id=name,
        raster_source=RasterioSourceConfig(uris=[image_uri], channel_order=[0, 1, 2]),
        label_source=SemanticSegmentationLabelSourceConfig(
            raster_source=RasterioSourceConfig(uris=[labels_uri])
        ),
        label_store=SemanticSegmentationLabelStoreConfig(smooth_output=False),
    )


def draw(path: Path, *, split: str, number: int, px: int, seed: int, what: str) -> None:
    """Draw one scene and write its image or its labels as a GeoTIFF.

    Args:
        path: The file to write.
        split: One of SPLITS.
        number: Which scene of the split, from 0.
        px: Side of the scene.
        seed: The seed of the whole data set.
        what: ``image`` or ``labels``.
    """
    from rasterio import Affine

    row = SPLITS.index(split)
    image, labels = drawn(px, seed, (row, number))
    side_m = (px + 64) * town.GSD_M
    west, north = 600_000 + number * side_m, 5_400_000 - row * side_m
    transform = Affine(town.GSD_M, 0.0, west, 0.0, -town.GSD_M, north)
    where = {"crs": CRS, "transform": transform}
    if what == "image":
        geotiff.write_image(path, image, **where)
    else:
        geotiff.write_labels(path, labels, colors=town.COLORS, **where)


# A scene's image and its labels are written one after the other.
drawn = lru_cache(maxsize=1)(town.scene)
