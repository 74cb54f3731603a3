"""Tree crowns in real airborne imagery: one 40 m tile at 0.1 m, trained on in half a minute.

The imagery is tile ``OSBS_029``, taken above the Ordway-Swisher Biological Station, Florida, by the
National Ecological Observatory Network (NEON), a programme sponsored by the U.S. National Science
Foundation and operated by Battelle. NEON gives its data products to the public domain under CC0 1.0
and asks to be cited: https://www.neonscience.org/data-samples/data-policies-citation. The 61 tree
boxes were drawn by hand for the NeonTreeEvaluation benchmark (Weinstein et al. 2021,
doi:10.1371/journal.pcbi.1009180). Both files come, unchanged, from the Python package DeepForest
2.1.0, which is under the MIT licence (https://github.com/weecology/DeepForest) and states no other
terms for its sample data.

rvlab contains neither file: the recipe downloads the wheel by pip once, verifies both files by
their SHA-256, and stores them in the user's cache folder (or ``RVLAB_CACHE``) and, as tiles, in the
store.

The labels are the ellipses inscribed in the boxes, because a crown is round and the corners of its
box are mostly ground. The tile is split into four quarters that share no pixel; one of them is held
out for validation.

Needs: the wheel of DeepForest from PyPI, downloaded once per machine.
"""

from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

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

from rvlab.recipes import data_dir, geotiff, models, neon
from rvlab.recipes.value_limits import validate_parameters

TREE_CLASSES = ("tree", "ground")
TREE_COLORS = ("#7fc97f", "#b08d6e")
QUARTER_PX = 200
QUARTERS = {
    "nw": (0, 0),
    "ne": (0, QUARTER_PX),
    "sw": (QUARTER_PX, 0),
    "se": (QUARTER_PX, QUARTER_PX),
}


@validate_parameters
def get_config(
    runner: Any,
    *,
    root_uri: str,
    data_uri: data_dir.SharedFolder = None,
    lr: Annotated[float, Field(gt=0)] = 3e-3,
    epochs: Annotated[int, Field(ge=1)] = 10,
    width: Annotated[int, Field(ge=1)] = 8,
    batch_size: Annotated[int, Field(ge=1)] = 8,
    chip_px: Annotated[int, Field(ge=16, le=QUARTER_PX)] = 100,
    stride_px: Annotated[int, Field(ge=1)] = 25,
    augment: bool = True,
    held_out: Literal["nw", "ne", "sw", "se"] = "se",
    nochip: bool = False,
    keep_scores: bool = False,
) -> SemanticSegmentationConfig:
    """Train a small U-Net to segment tree crowns and ground.

    Args:
        runner: Given by Raster Vision.
        root_uri: Where this run's output goes.
        data_uri: Folder for the tiles, which are written once and reused; None means
            ``{root_uri}/data``.
        lr: Learning rate; at 1e-2 the results vary much between trainings.
        epochs: Number of passes over the training chips.
        width: Channels of the U-Net at full resolution.
        batch_size: Chips per training step.
        chip_px: Side of the chips that the model trains and predicts on, 16 to 200.
        stride_px: Distance between one training chip and the next.
        augment: Rotate and flip the chips at random in training.
        held_out: The quarter of the tile for validation; the model trains on the other three.
        nochip: Train directly from the tiles, without the chip step.
        keep_scores: Store the scores of each class beside each prediction, one byte per pixel and
            class.

    Raises:
        SpecError: If a value has the wrong type or is outside of its limits.
        StoreError: If the imagery cannot be fetched, or the tiles cannot be written.
    """
    makers = {}
    for name in QUARTERS:
        makers[f"{name}.tif"] = partial(write_quarter, name, "image")
        makers[f"{name}-labels.tif"] = partial(write_quarter, name, "labels")
    uris = data_dir.make_missing(data_dir.data_folder(root_uri, data_uri, "osbs-029-v1"), makers)
    scenes = {
        name: tree_scene(
            f"osbs-{name}", uris[f"{name}.tif"], uris[f"{name}-labels.tif"], keep_scores
        )
        for name in QUARTERS
    }

    dataset = DatasetConfig(
        class_config=ClassConfig(
            names=list(TREE_CLASSES), colors=list(TREE_COLORS), null_class="ground"
        ),
        train_scenes=[scenes[name] for name in QUARTERS if name != held_out],
        validation_scenes=[scenes[held_out]],
    )
    sampling = WindowSamplingConfig(
        method=WindowSamplingMethod.sliding, size=chip_px, stride=stride_px
    )
    turns = ["RandomRotate90", "HorizontalFlip", "VerticalFlip"] if augment else []
    common = {"img_sz": chip_px, "num_workers": 0, "augmentors": turns}
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
                data_dir.data_folder(root_uri, data_uri), classes=len(TREE_CLASSES), width=width
            ),
            solver=SolverConfig(lr=lr, num_epochs=epochs, batch_sz=batch_size),
            log_tensorboard=False,
            run_tensorboard=False,
        ),
        chip_options=SemanticSegmentationChipOptions(sampling=sampling),
        # Each pixel is the result of up to 16 overlapping chips, so that no seams are visible.
        predict_options=SemanticSegmentationPredictOptions(
            chip_sz=chip_px, stride=chip_px // 4, batch_sz=8
        ),
    )


def tree_scene(name: str, image_uri: str, labels_uri: str, keep_scores: bool) -> SceneConfig:
    """Return the config of one tile with its labels and the store of its prediction."""
    return SceneConfig(
        id=name,
        raster_source=RasterioSourceConfig(uris=[image_uri], channel_order=[0, 1, 2]),
        label_source=SemanticSegmentationLabelSourceConfig(
            raster_source=RasterioSourceConfig(uris=[labels_uri])
        ),
        label_store=SemanticSegmentationLabelStoreConfig(
            smooth_output=keep_scores, smooth_as_uint8=True
        ),
    )


def write_quarter(name: str, what: str, path: Path) -> None:
    """Write one quarter's image or labels as a GeoTIFF.

    Args:
        name: One of QUARTERS.
        what: ``image`` or ``labels``.
        path: The file to write.
    """
    from rasterio import Affine

    tile = neon.load_tile()
    row, col = QUARTERS[name]
    window = slice(row, row + QUARTER_PX), slice(col, col + QUARTER_PX)
    whole = tile.transform
    west, north = whole.c + col * whole.a, whole.f + row * whole.e
    placed = Affine(whole.a, 0.0, west, 0.0, whole.e, north)
    where = {"crs": tile.crs, "transform": placed}
    if what == "image":
        geotiff.write_image(path, tile.image[window], **where)
    else:
        labels = (~tile.crowns[window]).astype("uint8")  # tree is class 0, ground class 1
        geotiff.write_labels(path, labels, colors=TREE_COLORS, **where)
