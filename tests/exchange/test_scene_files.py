"""Listing of files, and matching of predictions, truth and images by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from rvlab.errors import NotFound, SpecError
from rvlab.exchange.scene_files import (
    list_scene_files,
    match_files_to_scenes,
    match_truth_to_predictions,
)
from rvlab.store import S3Access, Store, register_store
from rvlab.store.file_patterns import VECTOR_SUFFIXES
from rvlab.store.server import Server


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def test_files_are_a_folder_a_glob_a_file_a_list_or_a_dict(tmp_path: Path) -> None:
    folder = touch(tmp_path, "b.tif", "a.TIF", "a.TIF.aux.xml", "c.geojson", "deep/d.tif", "deep/e")
    a, b, c, d = (str(folder / name) for name in ("a.TIF", "b.tif", "c.geojson", "deep/d.tif"))
    assert list_scene_files(folder, "truth") == [a, b]
    assert list_scene_files(folder, "truth", VECTOR_SUFFIXES) == [c]
    assert list_scene_files(f"{folder}/*.tif", "truth") == [b]
    assert list_scene_files(f"{folder}/**/*.tif", "truth") == [b, d]
    assert list_scene_files(folder / "b.tif", "truth") == [b]
    assert list_scene_files([Path(b), c], "truth") == [b, c]
    assert list_scene_files({"x": b}, "truth") == {"x": b}


def test_files_in_a_bucket_are_listed(s3: Server, s3_access: S3Access) -> None:
    store = register_store(Store(f"s3://{s3.bucket}/scene-files", s3_access))
    for name in ("a.tif", "b.tif", "b.txt", "x/labels.tif", "y/labels.tif", "y/z/labels.tif"):
        store.put(name, b"")
    a, b, x, y = (
        f"{store.uri}/{name}" for name in ("a.tif", "b.tif", "x/labels.tif", "y/labels.tif")
    )
    assert list_scene_files(store.uri, "truth") == [a, b]
    assert list_scene_files(f"{store.uri}/?.tif", "truth") == [a, b]
    assert list_scene_files(f"{store.uri}/*/labels.tif", "truth") == [x, y]
    assert list_scene_files(f"{store.uri}/**/*.tif", "truth") == [
        a,
        b,
        x,
        y,
        f"{store.uri}/y/z/labels.tif",
    ]
    assert list_scene_files(a, "truth") == [a]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("none", NotFound, "truth: none does not exist"),
        ("*.none", NotFound, r"truth: \*.none matches no file"),
        ([], NotFound, r"truth has no files: \[\]"),
        (3, SpecError, "truth must be a folder, a glob, a list of files, or a dict .*, got 3"),
        ([3], SpecError, "truth has 3, which is not a path or a URI"),
        (["a", "a"], SpecError, "truth has a file twice: .*/a"),
    ],
)
def test_error_explains_invalid_files(given: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        list_scene_files(given, "truth")


@pytest.mark.parametrize(
    ("predictions", "truth", "scenes"),
    [
        (["/p/a.tif", "/p/b.tif"], ["/t/b.tif", "/t/a.tif"], ["a", "b"]),
        (["/p/town-1.tif", "/p/town-10.tif"], ["/t/town-1-labels.tif", "/t/town-10-labels.tif"],
         ["town-1", "town-10"]),
        (["/p/pred_1.tif", "/p/pred_10.tif"], ["/t/gt_1.tif", "/t/gt_10.tif"], ["1", "10"]),
        (["/p/a_out.tif", "/p/b_out.tif"], ["/t/mask_a.png", "/t/mask_b.png"], ["a", "b"]),
        (["/p/v-0/labels.tif", "/p/v-1/labels.tif"], ["/t/v-0.tif", "/t/v-1.tif"], ["v-0", "v-1"]),
        (["/p/prediction.tif"], ["/t/truth.tif"], ["prediction"]),
        (["/p/town_pred.tif"], ["/t/labels_of_town.tif"], ["town"]),
        ({"x": "/p/1.tif", "y": "/p/2.tif"}, {"y": "/t/8.tif", "x": "/t/9.tif"}, ["x", "y"]),
        ({"x": "/p/1.tif", "y": "/p/2.tif"}, ["/t/x-gt.tif", "/t/y-gt.tif"], ["x", "y"]),
    ],
)  # fmt: skip
def test_scenes_are_matched_by_the_common_part_of_names(
    predictions: list[str] | dict[str, str], truth: list[str] | dict[str, str], scenes: list[str]
) -> None:
    guessed, known = match_truth_to_predictions(predictions, truth)
    assert list(guessed) == list(known) == scenes
    assert sorted(guessed.values()) == sorted(
        predictions.values() if isinstance(predictions, dict) else predictions
    )
    pairs = list(zip(guessed.values(), known.values(), strict=True))
    assert len(pairs) == len(set(pairs)) == len(truth)


def test_matched_pairs_are_of_the_same_scene() -> None:
    left = [f"/p/pred_{i}.tif" for i in range(12)]
    guessed, known = match_truth_to_predictions(
        left, [f"/t/{i}.truth.tif" for i in reversed(range(12))]
    )
    assert all(
        guessed[i] == f"/p/pred_{i}.tif" and known[i] == f"/t/{i}.truth.tif" for i in guessed
    )
    images = [f"/i/img{i}.jp2" for i in range(40)]
    assert match_files_to_scenes(list(guessed), images, "images") == {
        i: f"/i/img{i}.jp2" for i in guessed
    }


def test_error_names_the_files_without_a_partner() -> None:
    some = ["/p/a.tif", "/p/b.tif", "/p/c.tif"]
    with pytest.raises(SpecError, match=r"1 of 3 predictions have no truth of the same name: c\."):
        match_truth_to_predictions(some, ["/t/a.tif", "/t/b.tif"])
    with pytest.raises(SpecError, match=r"1 of 3 truth files have no prediction .*: c\. Select"):
        match_truth_to_predictions(
            ["/p/a.tif", "/p/b.tif"], [one.replace("/p", "/t") for one in some]
        )
    with pytest.raises(
        SpecError, match=r"9 of 9 predictions have no truth .*: 1, 2, .* and 4 more"
    ):
        match_truth_to_predictions([f"/p/{i}.tif" for i in range(1, 10)], ["/t/x.tif", "/t/y.tif"])
    with pytest.raises(SpecError, match=r"1 of 2 scenes have no file in images .*: b\."):
        match_files_to_scenes(["a", "b"], ["/i/a.tif", "/i/c.tif"], "images")
    with pytest.raises(SpecError, match=r"1 of 2 scenes have no file in scores .*: b\."):
        match_files_to_scenes(["a", "b"], {"a": "/s/1.tif"}, "scores")
    with pytest.raises(SpecError, match=r"predictions has two files of the same name: /p/a.tif"):
        match_truth_to_predictions(["/p/a.tif", "/p/a.png"], some)
