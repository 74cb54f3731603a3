"""Restrictions on addresses in records and in the files that they refer to."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import rasterio

from rvlab.errors import RasterError, RecordBroken, RvlabError, SpecError
from rvlab.model import Run
from rvlab.raster.display import image
from rvlab.raster.file_bytes import read_bytes
from rvlab.raster.gdal import open_raster
from rvlab.raster.labels import SceneLabels
from rvlab.raster.read import read
from rvlab.raster.scene import load_run_source
from rvlab.raster.vector_files import read_features
from rvlab.raster.window import Window
from rvlab.store import S3Access, Store, rv_outputs
from rvlab.store.addresses import ALLOW, REFUSED, is_allowed, mark_if_refused
from rvlab.store.server import Server
from tests.faults import damage
from tests.raster.samples import Experiment, town, write

REMOTE = Store("s3://bucket/lab", S3Access("http://10.9.8.7:9000", "key", "secret"))

ELSEWHERE = (
    *("/vsicurl/http://169.254.169.254/latest", "/vsis3/other/x.tif", "//vsicurl/http://h/x"),
    *("/vsizip//etc/x.zip", "http://169.254.169.254/", "https://h/x.tif", "gs://b/x.tif"),
    *("ftp://h/x", "WMS:http://h/?", "PG:host=h", "HTTP://h/x", "vrt:///etc/passwd?bands=1"),
    *("zip+https://h/x.zip!a.tif", "memory://x", "s3:///x.tif", "s3://bucket/lab/../../x.tif"),
    *("s3://bucket/%2e%2e/x.tif", "data:application/json,{}", "file:///vsicurl/http://h/x"),
)
LOCAL = (
    "/etc/passwd",
    "file:///etc/passwd",
    "relative/x.tif",
    "GTIFF_DIR:1:/etc/passwd",
    "/dev/zero",
)


@pytest.fixture
def town_runs(tmp_path: Path) -> Experiment:
    """An experiment in a local folder: one run with one scene."""
    made = Experiment(tmp_path, scenes=1)
    made.add(0.1)
    return made


@pytest.fixture
def web() -> Iterator[tuple[str, list[str]]]:
    """A web server's URL and the paths that were requested from it."""
    requested: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requested.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", requested
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("uri", [*ELSEWHERE, *LOCAL])
def test_addresses_outside_the_store_are_rejected_for_a_record_in_a_bucket(uri: str) -> None:
    assert not is_allowed(uri, REMOTE)
    rejected = mark_if_refused(uri, REMOTE)
    for open_ in (read, read_bytes, read_features):
        with pytest.raises(RasterError, match=r"is not opened: .*\[read\] in rvlab.toml"):
            open_(rejected)


@pytest.mark.parametrize("uri", ELSEWHERE)
def test_remote_addresses_are_rejected_for_a_record_in_a_local_folder(
    uri: str, tmp_path: Path
) -> None:
    assert mark_if_refused(uri, Store(tmp_path)) == f"{REFUSED}{uri}"


def test_addresses_in_the_store_on_s3_and_local_files_of_a_local_store_are_allowed(
    tmp_path: Path, s3: Server, s3_access: S3Access
) -> None:
    for uri in ("s3://bucket/lab/x.tif", "s3://other/x.tif"):
        assert mark_if_refused(uri, REMOTE) == uri
    embedded = Store(f"s3://{s3.bucket}/x", s3_access)
    for home in (Store(tmp_path), embedded):
        for uri in ("/data/x.tif", "file:///data/x.tif", "s3://bucket/x.tif"):
            assert mark_if_refused(uri, home) == uri
    away = Store("memory://lab")
    assert is_allowed("memory://lab/x.tif", away)
    assert not is_allowed("memory://labs/x.tif", away)
    assert not is_allowed("/data/x.tif", away)


@pytest.mark.parametrize(
    ("uri", "allowed"),
    [
        ("/data/imagery/a/x.tif", True),
        ("file:///data/imagery/x.tif", True),
        ("/data/imagery", True),
        ("/data/imagery-2/x.tif", False),
        ("/data/imagery/../secret/x.tif", False),
        ("https://tiles.example/scenes/x.tif", True),
        ("https://tiles.example/scenes/../x.tif", False),
        ("https://tiles.example/scenes/%2E%2E/x.tif", False),
        ("https://tiles.example.evil/scenes/x.tif", False),
        ("https://tiles.example@evil/scenes/x.tif", False),
        ("http://tiles.example/scenes/x.tif", False),
        ("/vsicurl/https://tiles.example/scenes/x.tif", False),
    ],
)
def test_settings_allow_more_folders_and_urls(
    uri: str, allowed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = ["/data/imagery", "https://tiles.example/scenes"]
    monkeypatch.chdir(tmp_path)
    Path("rvlab.toml").write_text(f"[read]\nallow = {json.dumps(listed)}\n")
    assert is_allowed(uri, REMOTE) == allowed
    Path("rvlab.toml").unlink()
    assert not is_allowed(uri, REMOTE)
    monkeypatch.setenv(ALLOW, json.dumps(listed))
    assert is_allowed(uri, REMOTE) == allowed


def test_symlink_out_of_an_allowed_folder_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "imagery"
    folder.mkdir()
    (folder / "x.tif").symlink_to("/etc/passwd")
    monkeypatch.setenv(ALLOW, json.dumps([str(folder)]))
    assert is_allowed(str(folder / "y.tif"), REMOTE)
    assert not is_allowed(str(folder / "x.tif"), REMOTE)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[read]\nallow = '/data'\n", "must be a list of folders and URLs, got '/data'"),
        ("[read]\nalow = []\n", r"\[read\] in .* has the unknown key 'alow'; use `allow`"),
        ("[read\n", "cannot be read"),
    ],
)
def test_error_names_the_invalid_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, why: str
) -> None:
    file = tmp_path / "rvlab.toml"
    file.write_text(text)
    monkeypatch.setenv("RVLAB_CONFIG", str(file))
    with pytest.raises(SpecError, match=why):
        is_allowed("/x", REMOTE)
    monkeypatch.setenv(ALLOW, "/data")
    with pytest.raises(SpecError, match="is '/data', but it must hold a JSON list"):
        is_allowed("/x", REMOTE)


def with_scene(made: Experiment, change: Callable[[dict[str, Any]], None]) -> Any:
    """Change the config of an experiment's run and load its source."""
    folder = Path(made.rows[0]["uri"])
    path = folder / "rv" / "pipeline-config.json"
    content = json.loads(path.read_text())
    change(content["dataset"]["validation_scenes"][0])
    path.write_text(json.dumps(content))
    return load_run_source(folder.name, str(folder))


def test_every_address_of_a_scene_is_checked(
    town_runs: Experiment, web: tuple[str, list[str]]
) -> None:
    address, requested = web

    def change(scene: dict[str, Any]) -> None:
        scene["raster_source"]["uris"] = f"{address}/image.tif"
        scene["label_source"]["raster_source"]["uris"] = [f"/vsicurl/{address}/labels.tif"]
        scene["label_store"]["uri"] = f"{address}/predict"
        scene["label_store"]["smooth_output"] = True
        scene["aoi_uris"] = [f"{address}/aoi.json"]

    one = with_scene(town_runs, change)
    (scene,) = one.scenes
    every = [*scene.image.uris, *scene.truth.uris, *scene.aoi_uris]
    every += [scene.prediction_uri, scene.scores_uri]
    assert all(uri.startswith(REFUSED) for uri in every)
    with pytest.raises(RasterError, match="is not opened"):
        image(scene, Window(0, 0, 8, 8))
    with pytest.raises(RasterError, match="is not opened"):
        SceneLabels.of_run(one, scene.id).truth()
    assert not requested


def test_addresses_of_vector_labels_are_checked(town_runs: Experiment) -> None:
    def change(scene: dict[str, Any]) -> None:
        vectors = {"type_hint": "geojson_vector_source", "uris": ["https://h/a.json"]}
        scene["label_source"]["raster_source"] = {
            "type_hint": "rasterized_source",
            "vector_source": vectors,
            "rasterizer_config": {"background_class_id": 0},
        }

    one = with_scene(town_runs, change)
    with pytest.raises(RasterError, match=r"https://h/a.json is not opened"):
        SceneLabels.of_run(one, "val-0").truth()


def test_outputs_of_an_adopted_run_outside_the_addresses_are_rejected(
    tmp_path: Path,
) -> None:
    run = damage.run_at(Store("memory://adopted-from-elsewhere"), 0)
    store = Store(run.store)
    spec = damage.spec_of(run) | {
        "engine": rv_outputs.ADOPTED,
        "places": {"root_uri": str(tmp_path)},
    }
    store.put_json(run.key("spec.json"), spec)
    with pytest.raises(RasterError, match="is not opened: a record names it"):
        rv_outputs.read_rv_config(store, run)


def test_images_and_labels_of_a_local_run_are_read(town_runs: Experiment) -> None:
    one = load_run_source(*(str(town_runs.rows[0][name]) for name in ("run", "uri")))
    (scene,) = one.scenes
    assert image(scene, Window(0, 0, 8, 8)).array.shape == (3, 8, 8)
    assert SceneLabels.of_run(one, scene.id).truth().shape == (96, 128)


# References inside files at allowed addresses


def vrt(source_: str, *, band: str = "", more: str = "", relative: int = 0) -> str:
    return (
        '<VRTDataset rasterXSize="128" rasterYSize="96">'
        f'<VRTRasterBand dataType="Byte" band="1" {band}><SimpleSource>'
        f'<SourceFilename relativeToVRT="{relative}">{source_}</SourceFilename>'
        f"<SourceBand>1</SourceBand></SimpleSource>{more}</VRTRasterBand></VRTDataset>"
    )


def test_vrt_of_local_files_is_read(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", town())
    path = tmp_path / "b.vrt"
    for text in (vrt("a.tif", relative=1), vrt(str(tmp_path / "a.tif"))):
        path.write_text(text)
        assert np.array_equal(read(str(path)).array[0], town())


@pytest.mark.parametrize(
    "text",
    [
        vrt("/vsicurl/ADDRESS/x.tif"),
        vrt("ADDRESS/x.tif"),
        vrt("WMS:ADDRESS"),
        vrt("/dev/zero"),
        vrt("inner.tif", relative=1),
        vrt("wms.tif", relative=1),
        vrt("a.tif", relative=1, band='subClass="VRTDerivedRasterBand"'),
        vrt("a.tif", relative=1, band='subClass="VRTRawRasterBand"'),
        vrt("a.tif", relative=1, more="<SourceFilename>/etc/passwd</SourceFilename>"),
        vrt(
            "a.tif",
            relative=1,
            more="<Overview><SourceFilename>ADDRESS</SourceFilename></Overview>",
        ),
        vrt("a.tif", relative=1).replace("<VRTDataset", '<VRTDataset subClass="VRTWarpedDataset"'),
        '<!DOCTYPE a [<!ENTITY b "c">]>' + vrt("a.tif", relative=1),
        "<GDAL_WMS><Service><ServerUrl>ADDRESS</ServerUrl></Service></GDAL_WMS>",
        "not xml",
    ],
)
def test_vrt_with_other_sources_is_rejected(
    tmp_path: Path, web: tuple[str, list[str]], text: str
) -> None:
    address, requested = web
    write(tmp_path / "a.tif", town())
    (tmp_path / "inner.tif").write_text(vrt(f"/vsicurl/{address}/x.tif"))
    (tmp_path / "wms.tif").write_text(f"<GDAL_WMS><ServerUrl>{address}</ServerUrl></GDAL_WMS>")
    path = tmp_path / "b.vrt"
    path.write_text(text.replace("ADDRESS", address))
    with pytest.raises(RasterError):
        read(str(path))
    other = path.rename(tmp_path / "b.tif")  # GDAL would detect the VRT from its content
    with pytest.raises(RasterError):
        read(str(other))
    assert not requested


def test_vrt_on_s3_is_rejected_before_a_request() -> None:
    with pytest.raises(RasterError, match="a remote VRT is not supported"):
        read("s3://bucket/x.vrt")


def test_external_overview_in_metadata_is_rejected(
    tmp_path: Path, web: tuple[str, list[str]]
) -> None:
    address, requested = web
    path = write(tmp_path / "a.tif", np.zeros((2048, 2048), np.uint8))
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=f"/vsicurl/{address}/x.tif")
    with pytest.raises(RasterError, match="its overviews are in another file"):
        read(path, max_px=64)
    assert not requested


def test_crs_of_labels_must_not_be_a_file_or_url(
    tmp_path: Path, web: tuple[str, list[str]]
) -> None:
    address, requested = web
    path = tmp_path / "labels.json"
    for name in (f"{address}/crs.wkt", "/etc/passwd", "+init=/etc/passwd:1", 5):
        feature = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [0, 0]}}
        crs = {"type": "name", "properties": {"name": name}}
        collection = {"type": "FeatureCollection", "features": [feature], "crs": crs}
        path.write_text(json.dumps(collection))
        with pytest.raises(RasterError, match="has the crs"):
            read_features(str(path))
    for name in ("urn:ogc:def:crs:OGC:1.3:CRS84", "urn:ogc:def:crs:EPSG::32611", "EPSG:4326"):
        collection["crs"] = {"type": "name", "properties": {"name": name}}
        path.write_text(json.dumps(collection))
        assert len(read_features(str(path))) == 1
    assert not requested


def test_only_regular_raster_files_are_opened(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in ("/dev/zero", str(pipe), str(tmp_path)):
        for open_ in (read, read_bytes):
            with pytest.raises(RasterError, match="is not a regular file"):
                open_(path)
    for path in ("/vsicurl/http://h/x.tif", "/vsizip/x", "//vsimem/x", "<VRTDataset/>", "WMS:x"):
        with pytest.raises(RasterError), open_raster(path):
            pass
    with pytest.raises(RasterError, match="is not a raster in a format that GDAL reads"):
        read("/etc/passwd")


@pytest.mark.parametrize("value", [5, None, {}, [], [5], [None], "", [""], True, [["a"]]])
@pytest.mark.parametrize(
    "place", ["raster_source", "label_source", "label_store", "aoi_uris", "id"]
)
def test_invalid_config_values_raise_errors_of_rvlab(
    town_runs: Experiment, place: str, value: Any
) -> None:
    def change(scene: dict[str, Any]) -> None:
        if place == "raster_source":
            scene[place]["uris"] = value
        else:
            scene[place] = value

    one = with_scene(town_runs, change)
    if one.error is not None:
        assert isinstance(one.error, RecordBroken)
        return
    for scene in one.scenes:
        for look in (
            lambda s: image(s, Window(0, 0, 8, 8)),
            lambda s: SceneLabels.of_run(one, s.id).truth(),
        ):
            try:
                look(scene)
            except RvlabError as exc:
                assert str(exc)  # noqa: PT017


def test_run_address_with_parent_folders_is_rejected() -> None:
    with pytest.raises(SpecError):
        Run.from_uri("../..")
