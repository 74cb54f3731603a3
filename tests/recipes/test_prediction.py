"""The config of a prediction: that of a bundle with other scenes."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rvlab.errors import SpecError, StoreError
from rvlab.pipeline.inputs import pipeline_arguments, pipeline_inputs
from rvlab.recipes import own_recipe

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.fixture
def submit(tmp_path: Path, config: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that builds a bundle and returns the config of its prediction."""

    def submitted(
        scenes: list[dict[str, Any]],
        recipe: str = "synthetic_town",
        change: Callable[[dict[str, Any]], object] = lambda _: None,
        digest: str = "",
        **params: Any,
    ) -> Any:
        size = {"scene_px": 256, "train_scenes": 1, "validation_scenes": 1, "epochs": 1}
        trained = config(recipe, root_uri=str(tmp_path / "model"), **size)
        trained.update()
        described = trained.dict()
        change(described)
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as archive:
            archive.writestr("pipeline-config.json", json.dumps(described, default=plain))
            archive.writestr("model-bundle.zip", b"model")
            archive.writestr("analyze/stats/train_scenes/stats.json", b"{}")
        bundle = tmp_path / "bundle.zip"
        bundle.write_bytes(data.getvalue())
        request: dict[str, Any] = {"bundle_uri": str(bundle), "scenes": scenes}
        request["bundle_sha256"] = digest or hashlib.sha256(data.getvalue()).hexdigest()
        (tmp_path / "request.json").write_text(json.dumps(request))
        places = {"root_uri": str(tmp_path / "run"), "request_uri": str(tmp_path / "request.json")}
        found = config("_prediction", **{**places, **params})
        found.update()
        found.recursive_validate_config()
        return found

    return submitted


def plain(value: Any) -> Any:
    """Return a set or an enumeration as JSON has it."""
    return list(value) if isinstance(value, set) else value.value


def scene(id_: str, *files: list[Any], labels: str | None = None) -> dict[str, Any]:
    return {"id": id_, "files": list(files), "labels": labels}


def add_statistics(described: dict[str, Any]) -> None:
    source = described["dataset"]["validation_scenes"][0]["raster_source"]
    stats = {"type_hint": "stats_transformer", "stats_uri": "/model/stats.json"}
    source["transformers"] = [stats]
    source["bbox"] = [0, 0, 8, 8]


def test_scenes_have_the_settings_of_the_bundle_and_its_model(
    submit: Callable[..., Any], tmp_path: Path
) -> None:
    one = scene("a", ["a.tif", None], labels="a-labels.tif")
    several = scene("b", ["red.tif", [0]], ["rest.tif", [2, 1]])
    found = submit([one, several], change=add_statistics)
    data = found.dataset
    assert (data.train_scenes, data.validation_scenes) == ([], [])
    plain, joined = data.test_scenes
    assert (plain.raster_source.uris, plain.raster_source.channel_order) == (["a.tif"], [0, 1, 2])
    assert plain.raster_source.bbox is None
    assert plain.label_source.raster_source.uris == ["a-labels.tif"]
    assert joined.label_source is None
    parts = joined.raster_source.raster_sources
    assert [(part.uris, part.channel_order) for part in parts] == [
        *[(["red.tif"], [0]), (["rest.tif"], [2, 1])]
    ]
    assert [part.transformers for part in parts] == [[], []]
    stats = str(tmp_path / "run/analyze/stats/train_scenes/stats.json")
    for source in (plain.raster_source, joined.raster_source):
        assert [one.stats_uri for one in source.transformers] == [stats]
    assert Path(stats).read_text() == "{}"
    assert (tmp_path / "run/train/model-bundle.zip").read_bytes() == b"model"
    assert found.evaluators[0].output_uri == str(tmp_path / "run/eval")
    assert (found.predict_options.stride, found.predict_options.crop_sz) == (96, 16)
    store = plain.label_store
    assert (store.smooth_output, store.smooth_as_uint8, store.vector_output) == (True, True, [])
    assert store.uri == str(tmp_path / "run/predict/a")


def test_files_replace_those_of_a_multi_raster_source(submit: Callable[..., Any]) -> None:
    def join(described: dict[str, Any]) -> None:
        add_statistics(described)
        scene = described["dataset"]["validation_scenes"][0]
        own = scene["raster_source"] | {"transformers": [], "bbox": None}
        cast = {"type_hint": "cast_transformer", "to_dtype": "uint8"}
        multi = {"type_hint": "multi_raster_source", "primary_source_idx": 0}
        inner = multi | {"raster_sources": [own | {"channel_order": [1]}, own]}
        scene["raster_source"] = multi | {
            "raster_sources": [own | {"transformers": [cast], "bbox": [0, 0, 8, 8]}, inner],
            "channel_order": [3, 1, 2],
            "transformers": scene["raster_source"]["transformers"],
            "bbox": [0, 0, 8, 8],
        }

    files = [[f"{name}.tif", None] for name in "abc"]
    whole = scene("whole", ["w.tif", None])
    joined = scene("joined", ["r.tif", [0]], ["s.tif", [2, 1]])
    found = submit([scene("each", *files), whole, joined], change=join).dataset.test_scenes
    each, stacked, bands = (one.raster_source for one in found)
    (first, inner), order = each.raster_sources, each.channel_order
    assert ([first.uris], order, first.bbox, each.bbox) == ([["a.tif"]], [3, 1, 2], None, None)
    assert first.transformers[0].type_hint == "cast_transformer"
    assert [(one.uris, one.channel_order) for one in inner.raster_sources] == [
        *[(["b.tif"], [1]), (["c.tif"], [0, 1, 2])]
    ]
    assert (stacked.uris, stacked.channel_order) == (["w.tif"], None)
    assert [one.channel_order for one in bands.raster_sources] == [[0], [2, 1]]
    assert bands.channel_order is None
    for source in (each, stacked, bands):
        assert [one.type_hint for one in source.transformers] == ["stats_transformer"]


def test_options_of_the_bundle_are_unchanged_if_asked(submit: Callable[..., Any]) -> None:
    found = submit([scene("a", ["a.tif", None])], overlap=None, scores=False)
    assert (found.predict_options.stride, found.predict_options.crop_sz) == (128, None)
    assert not found.dataset.test_scenes[0].label_store.smooth_output


@pytest.mark.parametrize("task", ["classification", "detection"])
def test_vector_labels_of_cells_and_boxes_are_replaced(
    task: str, submit: Callable[..., Any]
) -> None:
    one = scene("a", ["a.tif", None], labels="a.geojson")
    found = submit([one], f"synthetic_town_{task}")
    assert found.dataset.test_scenes[0].label_source.vector_source.uris == ["a.geojson"]
    assert found.predict_options.stride in (None, *range(1, 257))  # that of the bundle


def test_changed_bundles_and_bundles_without_scenes_are_refused(
    submit: Callable[..., Any],
) -> None:
    def drop_scenes(described: dict[str, Any]) -> None:
        described["dataset"] |= {f"{g}_scenes": [] for g in ("train", "validation", "test")}
        described["dataset"]["scene_groups"] = {}

    one = [scene("a", ["a.tif", None])]
    with pytest.raises(StoreError, match=r"has changed since .* was 00, now it is [0-9a-f]{64}\."):
        submit(one, digest="00")
    with pytest.raises(SpecError, match="has no scene"):
        submit(one, change=drop_scenes)
    with pytest.raises(SpecError, match=r"file that lab\.predict wrote, got 's3://b'"):
        submit(one, request_uri="s3://b")


def test_request_of_a_prediction_is_an_input_of_its_pipeline_but_not_a_parameter() -> None:
    recipe = own_recipe("prediction")
    params, places = recipe.signature.bind({"request_uri": "s3://b/r.json", "overlap": None})
    assert (params, places) == (
        *[{"overlap": None, "scores": True, "model": None}, {"request_uri": "s3://b/r.json"}],
    )
    inputs = pipeline_inputs(recipe, "s3://b")
    assert pipeline_arguments(inputs, {**params, **places}) == {
        **{"overlap": "null", "scores": True, "model": "null", "request_uri": "s3://b/r.json"}
    }
