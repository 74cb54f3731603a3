"""The same position, nodata, mask and overviews as GDAL, from files beside a raster."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from rvlab.errors import RasterError
from rvlab.raster import sidecars
from rvlab.raster.gdal import open_raster
from rvlab.raster.read import read
from rvlab.store import S3Access, Store, addresses, object_storage, register_store
from rvlab.store.server import Server
from rvlab.worker import fingerprint
from tests.faults.proxy import Proxy
from tests.raster.samples import CORNER, UTM, write

SIZE = 64
WKT = rasterio.crs.CRS.from_string(UTM).to_wkt()
Made = Callable[[Path], Path]


def bare(name: str) -> Made:
    """Write a raster without position, mask or overviews, in the format of its suffix."""
    driver = {
        "tif": "GTiff",
        "jpg": "JPEG",
        "png": "PNG",
        "jp2": "JP2OpenJPEG",
        "jpe": "JPEG",
        "bmp": "BMP",
    }

    def make(folder: Path) -> Path:
        pixels = np.random.default_rng(0).integers(1, 255, (3, SIZE, SIZE)).astype(np.uint8)
        size: dict[str, Any] = {"width": SIZE, "height": SIZE, "count": 3, "dtype": "uint8"}
        suffix = name.rpartition(".")[2].lower()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            made = rasterio.open(folder / name, "w", driver=driver[suffix[:3]], **size)
            with made:
                made.write(pixels)
        for more in folder.glob("*.aux.xml"):
            more.unlink()
        return folder / name

    return make


def world(name: str, *, srs: str = WKT, raster: str = "a.tif") -> Made:
    """Write a world file, and the CRS in an ``.aux.xml``."""

    def make(folder: Path) -> Path:
        path = bare(raster)(folder)
        t = CORNER
        numbers = (t.a, t.d, t.b, t.e, t.c + t.a / 2, t.f + t.e / 2)
        (folder / name).write_text("\n".join(map(str, numbers)))
        if srs:
            aux(f"<SRS>{srs}</SRS>")(path)
        return path

    return make


def aux(elements: str) -> Made:
    """Write an ``.aux.xml`` beside a raster; make the raster if a folder is given."""

    def make(where: Path) -> Path:
        path = bare("a.tif")(where) if where.is_dir() else where
        text = f"<PAMDataset>{elements}</PAMDataset>"
        path.with_name(f"{path.name}.aux.xml").write_text(text)
        return path

    return make


def placed(folder: Path, size: int = SIZE) -> Path:
    pixels = np.ones((3, size, size), np.uint8)
    return Path(write(folder / "a.tif", pixels, compress="DEFLATE"))


def external_mask(folder: Path) -> Path:
    path = placed(folder)
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[8:40, 8:40] = 255
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(mask)
    assert path.with_name("a.tif.msk").exists()
    return path


def external_overviews(folder: Path) -> Path:
    path = placed(folder, sidecars.OVERVIEWS_FROM_PX)
    with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4, 8])
    assert path.with_name("a.tif.ovr").exists()
    return path


GEO = ", ".join(map(str, CORNER.to_gdal()))
SIDECARS: dict[str, Made] = {
    "tfw": world("a.tfw"),
    "tifw": world("a.tifw"),
    "wld": world("a.wld"),
    "tfw without a CRS": world("a.tfw", srs=""),
    "jgw": world("a.jgw", raster="a.jpg"),
    "jpgw": world("a.jpgw", raster="a.jpg"),
    "jpeg": world("a.jgw", raster="a.jpeg"),
    "pgw": world("a.pgw", raster="a.png"),
    "j2w": world("a.j2w", raster="a.jp2"),
    "tiff": world("a.tfw", raster="a.tiff"),
    "CRS and position in aux.xml": aux(f"<SRS>{WKT}</SRS><GeoTransform>{GEO}</GeoTransform>"),
    "CRS as a code": aux(f"<SRS>EPSG:32611</SRS><GeoTransform>{GEO}</GeoTransform>"),
    "nodata in aux.xml": aux(
        f"<SRS>{WKT}</SRS><GeoTransform>{GEO}</GeoTransform>"
        + "".join(
            f'<PAMRasterBand band="{band}"><NoDataValue>7</NoDataValue></PAMRasterBand>'
            for band in (1, 2, 3)
        )
    ),
    "nodata in aux.xml, position in the header": lambda folder: aux(
        '<PAMRasterBand band="1"><NoDataValue>7</NoDataValue></PAMRasterBand>'
    )(placed(folder)),
    "statistics in aux.xml": aux(
        f"<SRS>{WKT}</SRS><GeoTransform>{GEO}</GeoTransform>"
        '<PAMRasterBand band="1"><Metadata><MDI key="STATISTICS_MAXIMUM">9</MDI></Metadata>'
        "</PAMRasterBand>"
    ),
    "msk": external_mask,
    "ovr": external_overviews,
    "nothing beside it": bare("a.tif"),
    "complete header": placed,
}


def facts(dataset: Any) -> dict[str, Any]:
    """Return what a sidecar can change in an open raster."""
    return {
        "crs": dataset.crs,
        "transform": dataset.transform,
        "nodata": dataset.nodatavals,
        "overviews": dataset.overviews(1),
        "mask": dataset.dataset_mask(out_shape=(SIZE, SIZE)).tolist(),
        "statistics": dataset.tags(1).get("STATISTICS_MAXIMUM"),
    }


@pytest.fixture
def proxy(s3: Server) -> Iterator[Recorder]:
    made = Recorder(s3.endpoint)
    with made.running():
        yield made


class Recorder(Proxy):
    """A proxy that lists the requests that it passes on."""

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.requests: list[str] = []
        self.may_list = True

    def choose(self, request: str) -> str:
        self.requests.append(request)

        if not self.may_list and ("list-type" in request or "prefix=" in request):
            return "denied"
        return super().choose(request)

    def listings(self) -> list[str]:
        """List the requests for a page of a listing."""
        return [one for one in self.requests if "list-type" in one or "prefix=" in one]

    def beside(self) -> list[str]:
        """List the requested names that are not the raster's own."""
        names = [one.rpartition("/")[2].split("?")[0] for one in self.requests if "/few/" in one]
        return sorted(name for name in names if not name.endswith(("tif", "jpg")))


@pytest.fixture
def bucket(s3: Server, s3_access: S3Access) -> Store:
    sidecars._found.clear()
    sidecars._first_pages.clear()
    return register_store(Store(f"s3://{s3.bucket}/sidecars", s3_access))


@pytest.fixture
def counted(
    s3: Server, s3_access: S3Access, proxy: Recorder, monkeypatch: pytest.MonkeyPatch
) -> Store:
    """The same bucket behind a proxy, as the only open store."""
    sidecars._found.clear()
    sidecars._first_pages.clear()
    monkeypatch.setattr(addresses, "_registered", {})
    access = S3Access(proxy.endpoint, s3_access.access_key, s3_access.secret_key, region=s3.region)
    return register_store(Store(f"s3://{s3.bucket}/counted", access))


def upload(bucket: Store, folder: Path, where: str) -> str:
    for path in folder.iterdir():
        bucket.put(f"{where}/{path.name}", path.read_bytes())
    return f"{bucket.uri}/{where}"


@pytest.fixture
def wanted(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Path, dict[str, Any]]:
    """A raster with its sidecar, and what GDAL reads by default."""
    path = SIDECARS[request.param](tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as dataset:
            return path, facts(dataset)


@pytest.mark.parametrize("wanted", SIDECARS, indirect=True)
def test_files_beside_a_local_raster_count_as_in_gdal(
    wanted: tuple[Path, dict[str, Any]],
) -> None:
    path, known = wanted
    with open_raster(str(path)) as dataset:
        assert facts(dataset) == known


@pytest.mark.parametrize("wanted", SIDECARS, indirect=True)
def test_files_beside_a_raster_on_s3_count_as_in_gdal(
    wanted: tuple[Path, dict[str, Any]], bucket: Store, request: pytest.FixtureRequest
) -> None:
    path, known = wanted
    folder = f"case-{list(SIDECARS).index(request.node.callspec.params['wanted'])}"
    uri = f"{upload(bucket, path.parent, folder)}/{path.name}"
    for _ in range(2):  # the second time, the names are known
        with open_raster(uri) as dataset:
            assert facts(dataset) == known


@pytest.mark.parametrize("may_list", [True, False])
def test_names_are_looked_up_once_and_only_for_what_the_header_lacks(
    counted: Store, proxy: Recorder, tmp_path: Path, may_list: bool
) -> None:
    proxy.may_list = may_list
    complete = write(tmp_path / "full/a.tif", np.ones((8, 8), np.uint8), nodata=0)
    no_mask = write(tmp_path / "mask/a.tif", np.ones((8, 8), np.uint8))
    no_position = bare("a.tif")(tmp_path)
    for name, path in (("full", complete), ("mask", no_mask), ("none", str(no_position))):
        counted.put(f"few/{name}/a.tif", Path(path).read_bytes())
    mask = ["a.tif.aux.xml", "a.tif.msk"]
    position = ["a.tab", "a.tfw", "a.tifw", "a.wld"]
    for name, missing in (("full", []), ("mask", mask), ("none", mask + position)):
        for names in (missing, []):
            proxy.requests.clear()
            read(f"{counted.uri}/few/{name}/a.tif")
            assert proxy.beside() == ([] if may_list else sorted(names))
            assert len(proxy.listings()) == bool(names)


def test_one_page_of_a_listing_serves_the_rasters_of_a_folder(
    counted: Store, proxy: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sidecars, "MAX_KEYS_PER_PAGE", 4)
    monkeypatch.setattr(object_storage, "MAX_KEYS_PER_PAGE", 4)
    for name in ("a", "b", "m", "n"):
        for end in ("0", "1", "tif"):
            counted.put(f"few/{name}.{end}", b"")
    counted.put("few/n.tif.msk", b"II*\0")
    # The first page ends within the files of b; a listing of the later ones starts at their stem.
    for name, listings in (("a", 1), ("b", 1), ("m", 1), ("n", 1), ("a", 0)):
        proxy.requests.clear()
        uri = f"{counted.uri}/few/{name}.tif"
        found = sidecars.find_sidecars(uri, frozenset({"mask"}))
        assert found == ((f"{uri}.msk",) if name == "n" else ())
        assert len(proxy.listings()) == listings, name
    # Files that were written after the listing are found.
    for end in ("tif", "tif.msk"):
        counted.put(f"few/a2.{end}", b"II*\0")
    uri = f"{counted.uri}/few/a2.tif"
    assert sidecars.find_sidecars(uri, frozenset({"mask"})) == (f"{uri}.msk",)


def test_predictions_have_no_files_beside_them(
    counted: Store, proxy: Recorder, tmp_path: Path
) -> None:
    path = bare("a.tif")(tmp_path)
    counted.put("alone/a.tif", path.read_bytes())
    proxy.requests.clear()
    read(f"{counted.uri}/alone/a.tif", alone=True)
    assert not proxy.beside()


@pytest.mark.parametrize("suffix", [".ovr", ".msk", ".OVR"])
def test_file_beside_a_raster_that_redirects_gdal_is_not_opened(
    suffix: str, bucket: Store, tmp_path: Path
) -> None:
    path = placed(tmp_path, 4096 if suffix == ".ovr" else SIZE)
    other = path.with_name(f"a.tif{suffix}")
    other.write_text('<VRTDataset rasterXSize="1" rasterYSize="1"/>')
    uris = [str(path)]
    if suffix != ".OVR":  # on S3, only lower case is tried
        uris.append(f"{upload(bucket, tmp_path, f'redirect{suffix}')}/a.tif")
    for uri in uris:
        with pytest.raises(RasterError, match=rf"a\.tif\{suffix} is not opened: .* must be a TIFF"):
            read(uri, max_px=8)


def test_overviews_elsewhere_in_an_aux_xml_are_not_opened(bucket: Store, tmp_path: Path) -> None:
    path = bare("a.tif")(tmp_path)
    aux(
        '<Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">/vsicurl/http://127.0.0.1:9/x.tif'
        "</MDI></Metadata>"
    )(path)
    for uri in (str(path), f"{upload(bucket, tmp_path, 'elsewhere')}/a.tif"):
        with pytest.raises(RasterError, match="its overviews are in another file"):
            read(uri, max_px=8)


def test_source_of_a_vrt_with_such_a_file_is_not_opened(tmp_path: Path) -> None:
    path = placed(tmp_path)
    path.with_name("a.tif.msk").write_text("<VRTDataset/>")
    vrt = tmp_path / "b.vrt"
    vrt.write_text(
        f'<VRTDataset rasterXSize="{SIZE}" rasterYSize="{SIZE}"><VRTRasterBand dataType="Byte" '
        'band="1"><SimpleSource><SourceFilename relativeToVRT="1">a.tif</SourceFilename>'
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(RasterError, match="must be a TIFF"):
        read(str(vrt))


def image_fingerprint(path: Path) -> Any:
    described = {"id": "a", "raster_source": {"type_hint": "rasterio_source", "uris": [str(path)]}}
    config = {"dataset": {"validation_scenes": [described]}}
    table = fingerprint.fingerprint_scenes(config, {"validation": ["a"]})
    return table.to_pylist()[0]["image"]


def test_fingerprint_depends_on_position_and_nodata_beside_the_image(tmp_path: Path) -> None:
    path = bare("a.tif")(tmp_path)
    found = [image_fingerprint(path)]
    world("a.tfw", srs="")(tmp_path)
    found.append(image_fingerprint(path))
    aux(f"<SRS>{WKT}</SRS>")(path)
    found.append(image_fingerprint(path))
    assert len(set(found)) == 3
    # What a program adds when it opens the image does not count.
    aux(f"<SRS>{WKT}</SRS><Metadata><MDI key='a'>b</MDI></Metadata>")(path)
    path.with_name("a.tif.ovr").write_bytes(b"II*\0")
    assert image_fingerprint(path) == found[-1]


def test_fingerprint_without_sidecars_is_that_of_the_file(tmp_path: Path) -> None:
    path = placed(tmp_path)
    wanted = fingerprint._digest([("uris", [fingerprint.file_sha256(str(path), whole=False)])])
    assert image_fingerprint(path) == wanted
    shutil.copy(path, tmp_path / "b.tif")
    assert image_fingerprint(tmp_path / "b.tif") == wanted
