"""Scenes of a prediction: paths, patterns, STAC items, scene ids and labels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pystac
import pytest
from affine import Affine

from rvlab.actions.prediction_scenes import find_scenes, require_remote
from rvlab.errors import NotFound, SpecError
from rvlab.raster.imagery import ImageryRules, SourceRules
from rvlab.raster.profile import RasterProfile
from rvlab.raster.read import Grid
from rvlab.store import S3Access, Store, register_store
from rvlab.store.file_patterns import expand_file_pattern
from rvlab.store.server import Server

RULES = ImageryRules(
    run="r",
    task="semantic_segmentation",
    channels=3,
    sources=(
        SourceRules(
            (0, 1, 2), RasterProfile("", Grid(8, 8, Affine.identity(), None), 3, "uint8", None)
        ),
    ),
    primary=0,
    not_stacked=None,
    bands=None,
    labels="raster",
    old_statistics=False,
)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name in ("a/x.tif", "a/y.tif", "b/x.tif", "b/deep/z 1.tif", "a/notes.txt", "odd[1].tif"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return tmp_path


def ids(images: Any, **more: Any) -> list[str]:
    return [scene.id for scene in find_scenes(images, None, replace(RULES, **more))]


def test_ids_are_the_names_of_files_and_unique(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ids(files / "a/x.tif") == ["x"]
    assert ids([files / "a/*.tif", files / "a/x.tif"]) == ["x", "y"]  # each image once
    assert ids(f"{files}/**/*.tif") == ["a-x", "y", "z-1", "b-x", "odd-1"]
    assert ids(files / "odd[1].tif") == ["odd-1"]  # an existing file is not a pattern
    assert ids(["https://host/a.b/t.tif?sig=*", "https://host/c/t.tif"]) == ["a.b-t", "c-t"]
    monkeypatch.chdir(files)
    (found,) = find_scenes("a/x.tif", None, RULES)
    assert found.image.name == str(files / "a/x.tif")
    with pytest.raises(NotFound, match=r"q\*.tif matches no file"):
        ids("q*.tif")


def test_tuple_has_a_file_for_each_source(files: Path) -> None:
    for name in ("dem.tif", "d/x-dem.tif", "d/y-dem.tif", "d/z-dem.tif"):
        (files / name).parent.mkdir(exist_ok=True)
        (files / name).write_text("")
    two: dict[str, Any] = {"sources": (*RULES.sources, SourceRules(None, None)), "primary": 0}

    def found(images: Any, **more: Any) -> list[tuple[str, ...]]:
        scenes = find_scenes(images, None, replace(RULES, **{**two, **more}))
        return [(one.id, *(Path(uri).name for uri, _ in one.image.files)) for one in scenes]

    x, y = files / "a/x.tif", files / "a/y.tif"
    dem = files / "dem.tif"
    assert found((x, dem)) == [("x", "x.tif", "dem.tif")]
    assert found([(x, dem), [y, dem]]) == [("x", "x.tif", "dem.tif"), ("y", "y.tif", "dem.tif")]
    assert found((files / "a/*.tif", files / "d")) == [
        *[("x", "x.tif", "x-dem.tif"), ("y", "y.tif", "y-dem.tif")]
    ]
    assert found((files / "a/*.tif", dem)) == [("x", "x.tif", "dem.tif"), ("y", "y.tif", "dem.tif")]
    assert found((x, files / "d")) == [("x", "x.tif", "x-dem.tif")]
    assert found((dem, x), primary=1) == [("x", "dem.tif", "x.tif")]
    assert found([x, y]) == [("x", "x.tif"), ("y", "y.tif")]  # one file each, with all channels
    with pytest.raises(SpecError, match=r"x.tif\) has 1 files, but .* run r has 2 sources"):
        found([(x,)])
    with pytest.raises(
        SpecError, match=r"has 2 files, but the imagery of the run r has 1 source\."
    ):
        found([(x, dem)], sources=RULES.sources)
    with pytest.raises(SpecError, match=r"bands are those of one file"):
        found((x, dem), bands=[1, 2, 3])
    with pytest.raises(SpecError, match=r"1 of 2 scenes have no file in .*: y"):
        found((files / "a/*.tif", files / "d/[xz]*.tif"))
    with pytest.raises(SpecError, match=r"matches several files of one name"):
        found((f"{files}/*/x.tif", files / "d"))


def test_patterns_of_a_bucket_match_as_those_of_folders(
    s3: Server, s3_access: S3Access, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rvlab.store.addresses._registered", {})
    store = register_store(Store(f"s3://{s3.bucket}/scenes/{tmp_path.name}", s3_access))
    for name in ("in/a.tif", "in/b.tif", "in/deep/c.tif", "in/a.txt", "inner/d.tif"):
        store.put(name, b"")

    def names(pattern: str) -> list[str]:
        return [
            uri.removeprefix(f"{store.uri}/")
            for uri in expand_file_pattern(f"{store.uri}/{pattern}")
        ]

    assert names("in/*.tif") == ["in/a.tif", "in/b.tif"]
    assert names("in/**/*.tif") == ["in/a.tif", "in/b.tif", "in/deep/c.tif"]
    assert names("i*/[ad].tif") == ["in/a.tif", "inner/d.tif"]
    assert names("in/a.tif") == ["in/a.tif"]  # opened later, not listed
    with pytest.raises(NotFound, match=r"matches no file"):
        names("out/*.tif")
    with pytest.raises(SpecError, match=r"a bucket must be named without a pattern"):
        expand_file_pattern("s3://buck*/a.tif")
    (outside,) = find_scenes(f"{store.uri}/in/a.tif", None, RULES)
    require_remote(outside.uris, "kubeflow")
    assert outside.id == "a"


def test_labels_belong_to_images_by_name_by_order_or_as_a_dict_says(files: Path) -> None:
    images = [files / "a/x.tif", files / "a/y.tif"]

    def pairs(labels: Any) -> dict[str, str | None]:
        found = find_scenes(images, labels, RULES)
        return {scene.id: scene.labels and Path(scene.labels).parent.name for scene in found}

    assert pairs(files / "b/x.tif") == {"x": "b", "y": None}
    assert pairs([files / "b/deep/z 1.tif", files / "b/x.tif"]) == {"x": "deep", "y": "b"}
    # Files that match a pattern are sorted by their own names, so their order means nothing.
    for name in ("x-labels", "y-labels"):
        (files / f"b/{name}.tif").write_text("")
    assert pairs(f"{files}/b/?-labels.tif") == {"x": "b", "y": "b"}
    with pytest.raises(SpecError, match=r"2 of 2 scenes have no file in labels"):
        pairs(f"{files}/**/[oz]*.tif")
    assert pairs({"y": files / "b/x.tif"}) == {"x": None, "y": "b"}
    assert pairs({str(images[1]): files / "b/x.tif"}) == {"x": None, "y": "b"}
    with pytest.raises(SpecError, match=r"2 of 2 scenes have no file in labels of the same name"):
        pairs(files / "b/deep/z 1.tif")
    with pytest.raises(SpecError, match=r"labels has 'q', but the scenes are x, y"):
        pairs({"q": files / "b/x.tif"})
    (files / "x.geojson").write_text("{}")
    with pytest.raises(
        SpecError, match=r"x.geojson are a vector file, those of the run r a raster"
    ):
        pairs({"x": files / "x.geojson"})
    with pytest.raises(SpecError, match=r"The run r has no labels"):
        find_scenes(images, files / "b/x.tif", replace(RULES, labels=None))
    with pytest.raises(SpecError, match=r"'kubeflow' cannot read .*x.tif of this machine"):
        require_remote(find_scenes(images, None, RULES)[0].uris, "kubeflow")


def asset(href: str, *bands: dict[str, str], **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"href": href, "type": "image/tiff; application=geotiff", **more}
    return found | ({"eo:bands": list(bands)} if bands else {})


def item(**assets: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": "S2_x",
        "geometry": None,
        "properties": {"datetime": "2026-11-30T00:00:00Z"},
        "links": [],
        "assets": assets,
    }


def image_of(one: Any, **more: Any) -> tuple[tuple[str, tuple[int, ...] | None], ...]:
    (found,) = find_scenes(one, None, replace(RULES, **more))
    assert found.id == "S2_x"
    return found.image.files


def test_stac_item_gives_the_bands_of_the_model(tmp_path: Path) -> None:
    one = item(
        image=asset("s3://b/all.tif", roles=["data"]),
        preview=asset("s3://b/p.tif", roles=["overview"]),
    )
    assert image_of(one) == (("s3://b/all.tif", None),)
    assert image_of(one, bands=[4, 3, 2]) == (("s3://b/all.tif", (3, 2, 1)),)
    named = [{"name": f"B{n}", "common_name": c} for n, c in enumerate(("blue", "green", "red"))]
    whole = item(image=asset("s3://b/all.tif", *named))
    assert image_of(whole, bands=["red", "B1", "blue"]) == (("s3://b/all.tif", (2, 1, 0)),)

    names = ("nir", "red", "green", "blue")
    each = item(
        **{f"B{n}": asset(f"./B{n}.tif", {"common_name": c}) for n, c in enumerate(names)},
        thumbnail={"href": "t.png", "type": "image/png"},
    )
    path = tmp_path / "item.json"
    path.write_text(json.dumps(each))
    files = tuple((str(tmp_path / f"B{n}.tif"), (0,)) for n in (1, 2, 3))
    assert image_of(path) == files  # red, green and blue, beside the file
    assert image_of([pystac.Item.from_file(str(path))]) == files
    assert image_of(path, bands=["B0", "red", "green"])[0] == (str(tmp_path / "B0.tif"), (0,))
    bands = {"bands": [{"name": "B1", "eo:common_name": c} for c in ("red", "green", "blue")]}
    newer = item(image=asset("s3://b/a.tif", **bands), other=asset("s3://b/o.tif"))
    assert image_of(newer | {"stac_version": "1.1.0"}) == (("s3://b/a.tif", (0, 1, 2)),)

    with pytest.raises(
        SpecError, match=r"has 4 images: .*nir.* Name those of the model's channels"
    ):
        image_of(path, channels=4)
    with pytest.raises(SpecError, match=r"has no band 'swir'. Its images are "):
        image_of(path, bands=["swir", "red", "green"])
    for numbers in ([0, 1, 2], [True, 2, 3]):
        with pytest.raises(SpecError, match="bands of a file must be integers from 1"):
            image_of(one, bands=numbers)
    with pytest.raises(SpecError, match=r"has the relative address './B0.tif'"):
        image_of(each)
    with pytest.raises(SpecError, match=r"has no asset that is a GeoTIFF"):
        image_of(item(thumbnail={"href": "t.png", "type": "image/png"}))
    with pytest.raises(SpecError, match=r"is not a STAC item"):
        find_scenes({"a": 1}, None, RULES)
    path.write_text("[")
    with pytest.raises(SpecError, match=r"its JSON is invalid"):
        image_of(path)
