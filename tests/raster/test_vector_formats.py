"""The same pixels and areas as Raster Vision, from every vector format that geopandas opens."""

from __future__ import annotations

import json
import sqlite3
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS
from rastervision.core.data import (
    ClassConfig,
    ClassInferenceTransformerConfig,
    GeoJSONVectorSourceConfig,
    RasterioSourceConfig,
    RasterizedSourceConfig,
    RasterizerConfig,
)
from rastervision.core.data.utils import get_polygons_from_uris
from shapely import GeometryCollection, MultiPolygon, Polygon, box, to_geojson
from shapely.geometry.base import BaseGeometry

from rvlab.errors import RasterError
from rvlab.raster import SceneLabels, scenes_from_config
from rvlab.raster.config import classes_from_config
from rvlab.raster.read import Grid
from rvlab.raster.vector_files import read_features
from rvlab.raster.vectors import read_areas
from tests.raster.samples import CORNER, UTM, write

SIZE = 128
CLASSES = {"names": ["background", "building"], "colors": ["black", "red"]}
CLASS_CONFIG = ClassConfig(**CLASSES, null_class="background")


def on_map(pixels: BaseGeometry) -> BaseGeometry:
    """Return a shape in pixels of the image in its CRS."""
    from shapely import transform

    t: Affine = CORNER
    return transform(pixels, lambda xy: xy * [t.a, t.e] + [t.c, t.f])


SHAPES = [
    on_map(box(20.4, 20.4, 40.6, 60.6)),
    on_map(Polygon([(50.3, 20.2), (80.7, 30.4), (70.2, 90.8)])),
    on_map(MultiPolygon([box(90.3, 5.5, 99.4, 9.6), box(100.5, 50.5, 120.4, 120.7)])),
]


def table(crs: str = UTM) -> gpd.GeoDataFrame:
    rows = {"class_id": [1, 1, 1], "label": ["building", None, "building"]}
    return gpd.GeoDataFrame(rows, geometry=SHAPES, crs=UTM).to_crs(crs)


def json_text(geometry: BaseGeometry) -> Any:
    found = gpd.GeoSeries([geometry], crs=UTM).to_crs(4326)[0]
    return json.loads(to_geojson(found))


def by_driver(driver: str, crs: str = UTM) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as: a name is too long for a shapefile
            table(crs).to_file(path, driver=driver)

    return make


def as_json(document: Any) -> Callable[[Path], None]:
    return lambda path: path.write_text(json.dumps(document), "utf-8") and None


def lines(separator: str) -> Callable[[Path], None]:
    features = [
        {"type": "Feature", "properties": {"class_id": 1}, "geometry": json_text(shape)}
        for shape in SHAPES
    ]
    text = "".join(f"{separator}{json.dumps(feature)}\n" for feature in features)
    return lambda path: path.write_text(text, "utf-8") and None


def zipped(path: Path) -> None:
    folder = path.parent / "unzipped"
    folder.mkdir()
    by_driver("ESRI Shapefile")(folder / "labels.shp")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in sorted(folder.iterdir()):
            archive.write(part, part.name)


def with_bom(path: Path) -> None:
    by_driver("GeoJSON", "EPSG:4326")(path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


def many_layers(path: Path) -> None:
    by_driver("GPKG")(path)
    other = gpd.GeoDataFrame({"class_id": [1]}, geometry=[on_map(box(0, 0, 9, 9))], crs=UTM)
    other.to_file(path, layer="other", driver="GPKG")


def kml(path: Path) -> None:
    table("EPSG:4326")[["geometry"]].to_file(path, driver="KML")


def with_crs(member: Any) -> Callable[[Path], None]:
    features = [
        {"type": "Feature", "properties": {}, "geometry": json.loads(to_geojson(shape))}
        for shape in SHAPES
    ]
    return as_json({"type": "FeatureCollection", "features": features, "crs": member})


ESRI = {
    "geometryType": "esriGeometryPolygon",
    "spatialReference": {"wkid": 32611},
    "fields": [{"name": "class_id", "type": "esriFieldTypeInteger"}],
    "features": [
        {
            "attributes": {"class_id": 1},
            "geometry": {"rings": [json.loads(to_geojson(SHAPES[0]))["coordinates"][0][::-1]]},
        }
    ],
}

FORMATS: dict[str, Callable[[Path], None]] = {
    "collection.geojson": by_driver("GeoJSON", "EPSG:4326"),
    "utm.geojson": by_driver("GeoJSON"),
    "bom.geojson": with_bom,
    "polygon.geojson": as_json(json_text(SHAPES[0])),
    "multipolygon.geojson": as_json(json_text(SHAPES[2])),
    "geometries.geojson": as_json(json_text(GeometryCollection(SHAPES[:2]))),
    "feature.geojson": as_json(
        {"type": "Feature", "properties": None, "geometry": json_text(SHAPES[1])}
    ),
    "lines.geojsonl": lines(""),
    "separated.geojsons": lines("\x1e"),
    "one-line.geojsonl": as_json(
        {"type": "Feature", "properties": {"class_id": 1}, "geometry": json_text(SHAPES[0])}
    ),
    "crs-name.geojson": with_crs({"type": "name", "properties": {"name": "EPSG:32611"}}),
    "crs-urn.geojson": with_crs(
        {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32611"}}
    ),
    "crs-code.geojson": with_crs({"type": "EPSG", "properties": {"code": 32611}}),
    "crs-text.geojson": with_crs({"type": "EPSG", "properties": {"code": "32611"}}),
    "esri.json": as_json(ESRI),
    "labels.gpkg": by_driver("GPKG"),
    "degrees.gpkg": by_driver("GPKG", "EPSG:4326"),
    "layers.gpkg": many_layers,
    "labels.fgb": by_driver("FlatGeobuf"),
    "labels.shp": by_driver("ESRI Shapefile"),
    "labels.zip": zipped,
    "labels.kml": kml,
}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("image") / "i.tif", np.zeros((SIZE, SIZE), np.uint8))


@pytest.fixture
def quiet() -> Iterator[None]:
    """Ignore GDAL's warnings in Raster Vision's own reading."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def scene_config(image: str, labels: str) -> tuple[dict[str, Any], RasterizedSourceConfig]:
    source = RasterizedSourceConfig(
        vector_source=GeoJSONVectorSourceConfig(
            uris=labels, transformers=[ClassInferenceTransformerConfig(default_class_id=1)]
        ),
        rasterizer_config=RasterizerConfig(background_class_id=0),
    )
    return {
        "id": "a",
        "raster_source": {"type_hint": "rasterio_source", "uris": [image]},
        "label_source": {
            "type_hint": "semantic_segmentation_label_source",
            "raster_source": json.loads(source.model_dump_json(serialize_as_any=True)),
        },
    }, source


@pytest.mark.parametrize("name", FORMATS)
def test_labels_have_the_pixels_that_raster_vision_draws(
    name: str, image: str, tmp_path: Path, quiet: None
) -> None:
    path = tmp_path / name
    FORMATS[name](path)
    described, source = scene_config(image, str(path))
    drawn_on = RasterioSourceConfig(uris=[image]).build(tmp_dir=str(tmp_path))
    theirs = source.build(CLASS_CONFIG, drawn_on.crs_transformer, drawn_on.bbox)
    wanted = theirs.get_chip(theirs.extent)[..., 0]
    config = {"dataset": {"class_config": CLASSES, "validation_scenes": [described]}}
    found = SceneLabels(scenes_from_config(config)[0], classes_from_config(CLASSES)).truth()
    assert np.array_equal(found, wanted)
    assert (wanted == 1).sum() > 300


@pytest.mark.parametrize("name", FORMATS)
def test_areas_of_interest_are_those_of_raster_vision(
    name: str, image: str, tmp_path: Path, quiet: None
) -> None:
    path = tmp_path / name
    FORMATS[name](path)
    drawn_on = RasterioSourceConfig(uris=[image]).build(tmp_dir=str(tmp_path))
    wanted = get_polygons_from_uris([str(path)], drawn_on.crs_transformer)
    grid = Grid(SIZE, SIZE, CORNER, CRS.from_user_input(UTM))
    found = read_areas([str(path)], grid).geometries
    assert len(found) == len(wanted) > 0
    assert all(ours.equals(other) for ours, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize("name", ["labels.gpkg", "labels.fgb", "labels.shp", "lines.geojsonl"])
def test_properties_are_those_of_geopandas(name: str, tmp_path: Path, quiet: None) -> None:
    path = tmp_path / name
    FORMATS[name](path)
    wanted = [f["properties"] for f in gpd.read_file(path).__geo_interface__["features"]]
    assert [f["properties"] for f in read_features(str(path))] == wanted


def test_shapefile_without_dbf_has_shapes(tmp_path: Path, quiet: None) -> None:
    path = tmp_path / "labels.shp"
    FORMATS["labels.shp"](path)
    path.with_suffix(".dbf").unlink()
    assert [sorted(f) for f in read_features(str(path))] == [["geometry", "id", "properties"]] * 3


@pytest.mark.parametrize(
    ("part", "message"),
    [(".prj", r"has no CRS: its \.prj is missing"), (".shx", r"labels\.shx does not exist")],
)
def test_missing_part_of_a_shapefile_is_named(
    part: str, message: str, tmp_path: Path, quiet: None
) -> None:
    path = tmp_path / "labels.shp"
    FORMATS["labels.shp"](path)
    path.with_suffix(part).unlink()
    with pytest.raises(RasterError, match=message):
        read_features(str(path))


def test_file_geodatabase_is_named_and_its_conversion(tmp_path: Path) -> None:
    folder = tmp_path / "labels.gdb"
    folder.mkdir()
    with pytest.raises(RasterError, match=r"file geodatabase.*: ogr2ogr labels\.gpkg labels\.gdb"):
        read_features(str(folder))


def test_empty_collection_has_no_shapes(tmp_path: Path) -> None:
    path = tmp_path / "l.geojson"
    path.write_text('{"type": "FeatureCollection", "features": []}')
    assert read_features(str(path)) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": null}]}',
            "has 1 features, but none has a geometry",
        ),
        ('{"type": "Polygon", "coordinates": []}', "has 1 features, but none has a geometry"),
        ('{"type": "Polygon"}', "cannot be interpreted"),
        ('{"name": "towns"}', "cannot be read"),
        (
            '{"type": "Topology", "objects": {"a": {"type": "Point", "coordinates": [1, 2]}}, '
            '"arcs": []}',
            "has no CRS. Raster Vision cannot read it either",
        ),
        ("[1, 2]", "has no GeoJSON features"),
        ("", "has no GeoJSON features"),
        ("x,y\n1,2\n", r"is not in a vector format that is read: GeoJSON.*Convert it: ogr2ogr"),
        ("<gml:FeatureCollection/>", r"is not in a vector format that is read"),
    ],
)
def test_file_without_shapes_is_never_read_as_empty(
    text: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "l.geojson"
    path.write_text(text)
    with pytest.raises(RasterError, match=message):
        read_features(str(path))


@pytest.mark.parametrize(
    "text",
    [
        '<OGRVRTDataSource><OGRVRTLayer name="a"><SrcDataSource>/etc/x</SrcDataSource>'
        "</OGRVRTLayer></OGRVRTDataSource>",
        "<kml><!-- <OGRVRTDataSource> --></kml>",
        '<!DOCTYPE kml [<!ENTITY a SYSTEM "file:///etc/passwd">]><kml>&a;</kml>',
        "<kml><NetworkLink><Link><href>http://127.0.0.1:1/</href></Link></NetworkLink></kml>",
    ],
)
def test_file_that_redirects_gdal_is_not_opened(text: str, tmp_path: Path) -> None:
    for name in ("l.kml", "l.geojson", "l.gpkg"):
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(RasterError, match="is not in a vector format that is read"):
            read_features(str(path))


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE VIEW other AS SELECT * FROM gpkg_contents",
        "CREATE VIRTUAL TABLE other USING fts5(text)",
    ],
)
def test_geopackage_with_a_view_or_virtual_table_is_not_opened(
    statement: str, tmp_path: Path, quiet: None
) -> None:
    path = tmp_path / "l.gpkg"
    FORMATS["labels.gpkg"](path)
    with closing(sqlite3.connect(path)) as database:
        database.execute(statement)
        database.commit()
    with pytest.raises(RasterError, match="'other' is a view or a virtual table"):
        read_features(str(path))


def test_zip_above_the_limit_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "l.zip"
    zipped(path)
    monkeypatch.setattr("rvlab.raster.ogr.GEOJSON_BYTES", 100)
    with pytest.raises(RasterError, match="has more than 100 bytes unpacked"):
        read_features(str(path))
