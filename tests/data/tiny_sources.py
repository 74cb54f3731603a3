"""The tiny town with a source of several files, of two sensors, or an area of interest."""

from pathlib import Path

import geopandas as gpd
import rasterio
from rasterio.enums import Resampling
from rasterio.windows import Window
from rastervision.core.data import MultiRasterSourceConfig, RasterioSourceConfig
from shapely import box

from rvlab.recipes.synthetic_town import get_config as town


def get_config(
    runner,
    root_uri: str,
    folder: str,
    kind: str = "files",
    lr: float = 1e-2,
    epochs: int = 4,
    data_uri: str | None = None,
):
    config = town(
        runner,
        root_uri=root_uri,
        data_uri=data_uri,
        lr=lr,
        epochs=epochs,
        scene_px=192,
        chip_px=64,
        width=4,
        nochip=True,
    )
    data = config.dataset
    for scene in [*data.train_scenes, *data.validation_scenes, *data.test_scenes]:
        (image,) = scene.raster_source.uris
        where = Path(folder) / scene.id
        where.mkdir(parents=True, exist_ok=True)
        if kind == "files":
            scene.raster_source.uris = halves(image, where)
        elif kind == "sensors":
            scene.raster_source = MultiRasterSourceConfig(
                raster_sources=[
                    RasterioSourceConfig(uris=[image]),
                    RasterioSourceConfig(uris=[coarse(image, where)]),
                ],
                channel_order=[3, 1, 2],
            )
        elif kind == "area":
            scene.aoi_uris = [area(image, where)]
    return config


def halves(image: str, where: Path) -> list[str]:
    """Write the west and the east of an image as two files."""
    uris = []
    with rasterio.open(image) as whole:
        side = whole.width // 2
        for i, name in enumerate(("west", "east")):
            window = Window(i * side, 0, side, whole.height)
            profile = whole.profile | {
                "width": side,
                "transform": whole.window_transform(window),
                "driver": "GTiff",
            }
            uris.append(str(where / f"{name}.tif"))
            with rasterio.open(uris[-1], "w", **profile) as part:
                part.write(whole.read(window=window))
    return uris


def coarse(image: str, where: Path) -> str:
    """Write an image with pixels of twice the size, as another sensor has."""
    path = str(where / "coarse.tif")
    with rasterio.open(image) as whole:
        shape = (whole.count, whole.height // 2, whole.width // 2)
        pixels = whole.read(out_shape=shape, resampling=Resampling.average)
        transform = whole.transform @ whole.transform.scale(2)
        profile = whole.profile | {
            "width": shape[2],
            "height": shape[1],
            "transform": transform,
            "driver": "GTiff",
        }
        with rasterio.open(path, "w", **profile) as made:
            made.write(pixels)
    return path


def area(image: str, where: Path) -> str:
    """Write the middle of an image as one polygon in a GeoPackage."""
    path = str(where / "area.gpkg")
    with rasterio.open(image) as whole:
        left, bottom, right, top = whole.bounds
        wide, tall = (right - left) / 5, (top - bottom) / 5
        middle = box(left + wide, bottom + tall, right - wide, top - tall)
        gpd.GeoDataFrame(geometry=[middle], crs=whole.crs).to_file(path, driver="GPKG")
    return path
