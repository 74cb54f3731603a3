"""Buildings (SpaceNet 2) or roads (SpaceNet 3) of Las Vegas, in 0.3 m WorldView-3 imagery.

The scenes are read in place, with the folders and names of the public bucket
``s3://spacenet-dataset`` or of a copy of it: below ``{raw_uri}/spacenet``, images in ``PS-RGB`` and
labels in ``geojson_buildings`` of ``SN2_buildings/train/AOI_2_Vegas``, or in ``geojson_roads`` of
``SN3_roads/train/AOI_2_Vegas``. With ``AWS_NO_SIGN_REQUEST=YES`` the bucket needs no account.
SpaceNet's data sets differ in their terms: see https://spacenet.ai/datasets.

Needs: SpaceNet below `raw_uri`, and ImageNet weights from torchvision if `pretrained`.
"""

import random
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field
from rastervision.core.data import (
    BufferTransformerConfig,
    ClassConfig,
    ClassInferenceTransformerConfig,
    DatasetConfig,
    GeoJSONVectorSourceConfig,
    PolygonVectorOutputConfig,
    RasterioSourceConfig,
    RasterizedSourceConfig,
    RasterizerConfig,
    SceneConfig,
    SemanticSegmentationLabelSourceConfig,
    SemanticSegmentationLabelStoreConfig,
    StatsTransformerConfig,
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
    Backbone,
    SemanticSegmentationGeoDataConfig,
    SemanticSegmentationImageDataConfig,
    SemanticSegmentationModelConfig,
    SolverConfig,
)

from rvlab.errors import NotFound
from rvlab.recipes import data_dir, models
from rvlab.recipes.value_limits import validate_parameters

SCENE_PX = 650
ROAD_HALF_WIDTH_PX = 15


@dataclass(frozen=True)
class Target:
    """A class to segment, and the paths of its images and labels in SpaceNet.

    Args:
        name: The class.
        folder: Below `raw_uri`.
        labels: The folder of the labels.
        prefix: The prefix of every file name.
    """

    name: str
    folder: str
    labels: str
    prefix: str

    def image(self, number: str) -> str:
        """Return the path of a scene's image below the folder."""
        return f"PS-RGB/{self.prefix}PS-RGB_img{number}.tif"

    def label(self, number: str) -> str:
        """Return the path of a scene's labels below the folder."""
        return f"{self.labels}/{self.prefix}{self.labels}_img{number}.geojson"


TARGETS = {
    "buildings": Target(
        "building",
        "spacenet/SN2_buildings/train/AOI_2_Vegas",
        "geojson_buildings",
        "SN2_buildings_train_AOI_2_Vegas_",
    ),
    "roads": Target(
        "road",
        "spacenet/SN3_roads/train/AOI_2_Vegas",
        "geojson_roads",
        "SN3_roads_train_AOI_2_Vegas_",
    ),
}


@validate_parameters
def get_config(
    runner: Any,
    *,
    root_uri: str,
    raw_uri: str,
    data_uri: data_dir.SharedFolder = None,
    target: Literal["buildings", "roads"] = "buildings",
    backbone: Literal["resnet50", "resnet101", "unet"] = "resnet50",
    pretrained: bool = True,
    lr: Annotated[float, Field(gt=0)] = 1e-4,
    epochs: Annotated[int, Field(ge=1)] = 5,
    batch_size: Annotated[int, Field(ge=1)] = 8,
    one_cycle: bool = True,
    chip_px: Annotated[int, Field(ge=16, le=SCENE_PX)] = 325,
    width: Annotated[int, Field(ge=1)] = 8,
    train_share: Annotated[float, Field(gt=0, lt=1)] = 0.8,
    split_seed: Annotated[int, Field(ge=0)] = 5678,
    max_scenes: Annotated[int, Field(ge=2)] | None = None,
    workers: Annotated[int, Field(ge=0)] = 4,
    nochip: bool = True,
    test: bool = False,
) -> SemanticSegmentationConfig:
    """Train a DeepLabV3 or a small U-Net on buildings or roads.

    Args:
        runner: Given by Raster Vision.
        root_uri: Where this run's output goes.
        raw_uri: The folder that contains ``spacenet``, such as ``s3://spacenet-dataset``.
        data_uri: Folder for the source of the U-Net, unused by other backbones; None means
            ``{root_uri}/data``.
        target: The class to segment.
        backbone: Backbone of DeepLabV3; ``unet`` trains a small U-Net from scratch instead.
        pretrained: Start from ImageNet weights, which torchvision downloads. Not for ``unet``.
        lr: Learning rate; with `one_cycle`, its maximum.
        epochs: Number of passes over the training chips.
        batch_size: Chips per training step.
        one_cycle: Raise and lower the learning rate once during the training.
        chip_px: Side of the chips, at most 650; 325 gives four chips per scene.
        width: Channels of the U-Net at full resolution.
        train_share: Fraction of the scenes for training, below 1; the others are for validation.
        split_seed: Seed of the random split into training and validation scenes.
        max_scenes: Maximum number of scenes, two or more; None uses all.
        workers: Processes that read chips; 0 reads in the training process.
        nochip: Train directly from the scenes, without the chip step.
        test: Run a short trial: at most 16 scenes to train and 4 to validate, 2 epochs.

    Raises:
        SpecError: If a value has the wrong type or is outside of its limits.
        NotFound: If fewer than two scenes have both an image and labels.
        StoreError: If a folder cannot be listed or written.
    """
    what = TARGETS[target]
    base = f"{data_dir.data_folder('', raw_uri)}/{what.folder}"
    train, validation = split_scenes(scene_numbers(base, what), train_share, split_seed, max_scenes)
    if test:
        train, validation, epochs = train[:16], validation[:4], min(epochs, 2)

    dataset = DatasetConfig(
        class_config=ClassConfig(
            names=[what.name, "background"], colors=["orange", "black"], null_class="background"
        ),
        train_scenes=[vegas_scene(base, what, number) for number in train],
        validation_scenes=[vegas_scene(base, what, number) for number in validation],
    )
    sampling = WindowSamplingConfig(
        method=WindowSamplingMethod.sliding, size=chip_px, stride=chip_px
    )
    data = (
        SemanticSegmentationGeoDataConfig(
            scene_dataset=dataset, sampling=sampling, img_sz=chip_px, num_workers=workers
        )
        if nochip
        else SemanticSegmentationImageDataConfig(img_sz=chip_px, num_workers=workers)
    )
    model = (
        models.small_unet(data_dir.data_folder(root_uri, data_uri), classes=2, width=width)
        if backbone == "unet"
        else SemanticSegmentationModelConfig(backbone=Backbone[backbone], pretrained=pretrained)
    )
    return SemanticSegmentationConfig(
        root_uri=root_uri,
        dataset=dataset,
        backend=PyTorchSemanticSegmentationConfig(
            data=data,
            model=model,
            solver=SolverConfig(lr=lr, num_epochs=epochs, batch_sz=batch_size, one_cycle=one_cycle),
            log_tensorboard=True,
            run_tensorboard=False,
        ),
        chip_options=SemanticSegmentationChipOptions(sampling=sampling),
        predict_options=SemanticSegmentationPredictOptions(chip_sz=chip_px, batch_sz=batch_size),
    )


def scene_numbers(base: str, what: Target) -> list[str]:
    """List the numbers of the scenes that have both an image and labels, in ascending order.

    Some scenes lack either: the public bucket has no image of scene 1000.

    Raises:
        NotFound: If there are fewer than two.
    """
    numbers: list[set[str]] = []
    for path in (what.image(r"(\d+)"), what.label(r"(\d+)")):
        folder, pattern = path.split("/", 1)
        matches = (re.fullmatch(pattern, name) for name in data_dir.list_names(f"{base}/{folder}"))
        numbers.append({match[1] for match in matches if match})
    images, labels = numbers
    pairs = images & labels
    if len(pairs) < 2:
        raise NotFound(
            f"{base} has {len(images)} images like {what.image('1')} and {len(labels)} labels "
            f"like {what.label('1')}, {len(pairs)} of them pairs, and a training needs two. "
            "raw_uri is the folder that contains 'spacenet', such as s3://spacenet-dataset."
        )
    return sorted(pairs, key=int)


def split_scenes(
    numbers: list[str], share: float, seed: int, most: int | None = None
) -> tuple[list[str], list[str]]:
    """Split scenes at random into training and validation scenes.

    Args:
        numbers: Two scenes or more.
        share: Fraction of training scenes; each side has at least one scene.
        seed: Seed of the split; the same seed and scenes give the same split.
        most: Maximum number of scenes; None uses all.
    """
    shuffled = random.Random(seed).sample(numbers, len(numbers))[:most]  # noqa: S311  a split
    cut = min(max(round(len(shuffled) * share), 1), len(shuffled) - 1)
    return shuffled[:cut], shuffled[cut:]


def vegas_scene(base: str, what: Target, number: str) -> SceneConfig:
    """Return the config of one scene, with a normalized image and labels from GeoJSON."""
    labels = GeoJSONVectorSourceConfig(
        uris=f"{base}/{what.label(number)}",
        transformers=[
            ClassInferenceTransformerConfig(default_class_id=0),
            # Roads are lines, and a few buildings are points.
            BufferTransformerConfig(geom_type="LineString", class_bufs={0: ROAD_HALF_WIDTH_PX}),
            BufferTransformerConfig(geom_type="Point"),
        ],
    )
    return SceneConfig(
        id=number,
        raster_source=RasterioSourceConfig(
            uris=[f"{base}/{what.image(number)}"],
            channel_order=[0, 1, 2],
            transformers=[StatsTransformerConfig()],
        ),
        label_source=SemanticSegmentationLabelSourceConfig(
            raster_source=RasterizedSourceConfig(
                vector_source=labels, rasterizer_config=RasterizerConfig(background_class_id=1)
            )
        ),
        label_store=SemanticSegmentationLabelStoreConfig(
            vector_output=[PolygonVectorOutputConfig(class_id=0, denoise=3)]
        ),
    )
