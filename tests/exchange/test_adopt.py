"""Registration of existing Raster Vision outputs as runs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rvlab import Lab, compare, plot
from rvlab.errors import KeyMissing, NotFound, RasterError, RecordBroken, SpecError
from rvlab.model import Run
from rvlab.store import S3Access, Store, register_store, rv_outputs, store_for_uri
from rvlab.store.server import Server
from tests.conftest import Trained
from tests.worker.test_summarize import item

OLD = "/opt/data/out"  # the root_uri in the config
LOG = "epoch,train_loss\n0,1.5\n1,1.25\n"
NAMES = ["road", "other"]


# Outputs of real trainings


def copy_outputs(trained: Trained, name: str, to: Store, folder: str) -> str:
    """Copy a run's outputs of Raster Vision to a folder that its config does not mention."""
    run = trained.runs[name]
    store = trained.lab.store
    start = len(run.key("rv", ""))
    for key, data in store.get_many(k for k, _ in store.files(run.key("rv"))).items():
        assert isinstance(data, bytes)
        if key.endswith(".json"):
            data = data.replace(run.rv_uri.encode(), OLD.encode())
        to.put(f"{folder}/{key[start:]}", data)
    return f"{to.uri}/{folder}"


@pytest.fixture(params=["s3", "local"])
def elsewhere(
    request: pytest.FixtureRequest, s3: Server, s3_access: S3Access, tmp_path: Path
) -> Store:
    if request.param == "local":
        return Store(tmp_path / "outputs of others")
    return Store(f"s3://{s3.bucket}/outputs-{tmp_path.name}", s3_access)


def assert_equal_tables(left: pd.DataFrame, right: pd.DataFrame) -> None:
    assert len(left)
    left, right = (one.drop(columns=["run", "name"]) for one in (left, right))
    pd.testing.assert_frame_equal(left, right)


def test_adopted_run_has_all_tables_and_pictures(
    trained: Trained, elsewhere: Store, tmp_path: Path
) -> None:
    before = trained.runs["first"]
    uri = copy_outputs(trained, "first", elsewhere, "towns")
    files = elsewhere.files()
    lab = Lab(tmp_path / "lab")
    (run,) = lab.adopt(uri, params={"note": "by hand"})

    row, original = lab.runs().loc[run.id], trained.row("first")
    assert row[["state", "engine", "name", "experiment", "recipe"]].tolist() == [
        "succeeded", "adopted", "towns", "adopted", "semantic_segmentation",
    ]  # fmt: skip
    metrics = [c for c in trained.table if c.startswith(("metrics.", "eval_set"))]
    assert row["metrics.f1"] > 0
    assert row["metrics.object_f1"] > 0
    assert row["metrics.boundary_iou"] > 0
    for name in metrics:
        assert row[name] == original[name] or (pd.isna(original[name]) and name not in row)
    assert row["params.solver.lr"] == 1e-2
    assert row["params.solver.num_epochs"] == 2
    assert row["params.note"] == "by hand"
    assert row["started"] == row["created"] <= row["ended"]
    for name in ("evals", "confusion", "scenes", "history"):
        assert_equal_tables(getattr(lab, name)(run), getattr(trained.lab, name)(before))

    table = lab.artifacts()
    named = ["run", "name", "step", "kind", "scene"]
    left = trained.lab.artifacts(before).query("kind != 'labels_copy'")  # rvlab writes these
    assert_equal_tables(table[named], left[named])
    assert set(table["uri"]) == {f"{elsewhere.uri}/{key}" for key, _ in files}
    for uri_, size in zip(table["uri"], table["bytes"], strict=True):
        assert store_for_uri(uri_).size(store_for_uri(uri_).key(uri_)) == size

    drawn = [plot.predictions(t) for t in (lab.runs(), trained.table.loc[[before.id]])]
    adopted, own = ([i.get_array() for ax in f.axes for i in ax.images] for f in drawn)
    assert len(adopted) >= 3
    for one, other in zip(adopted, own, strict=True):
        np.testing.assert_array_equal(one, other)

    flat = compare.configs(run, every=True).iloc[0].dropna().astype(str)
    assert flat["predict_uri"] == "{run}/rv/predict"
    assert not flat.str.contains(OLD).any()
    different = compare.configs([before, run])
    assert not different.filter(regex="solver|predict_uri|label_store").size
    assert len(compare.diff(before, run))

    assert plot.heatmap(lab.evals())
    assert plot.confusion(lab.confusion())
    assert plot.curves(lab.history())
    records = lab.store.files()
    assert lab.adopt(f"{uri}/") == [run]
    assert lab.store.files() == records
    assert not [key for key, _ in records if "/tables/" not in key and not key.endswith(".json")]
    assert elsewhere.files() == files


def test_runs_of_the_same_store_are_not_adopted(trained: Trained) -> None:
    before = trained.lab.store.files()
    for uri in (trained.runs["first"].uri, trained.runs["first"].rv_uri, trained.lab.store.uri):
        with pytest.raises(SpecError, match=r"contains only runs of .*, which its tables"):
            trained.lab.adopt(uri)
    assert trained.lab.store.files() == before


def test_runs_of_another_store_are_adopted_except_unevaluated_ones(
    trained: Trained, tmp_path: Path
) -> None:
    lab = Lab(tmp_path)
    with pytest.warns(UserWarning, match=f"{trained.runs['train fails'].rv_uri} has not been eval"):
        runs = lab.adopt(f"{trained.lab.store.uri}/{trained.runs['first'].experiment}")
    names = {name for name in trained.runs if name not in ("raises", "train fails")}
    assert set(lab.runs(runs)["metrics.f1"]) == {trained.row(n)["metrics.f1"] for n in names}


# Small synthetic outputs


def output(folder: Path, *, lr: float = 0.1, says: str = OLD, **backend: Any) -> Path:
    """Write outputs like those of Raster Vision: config, log and evaluation."""
    config = {
        "root_uri": says,
        "type_hint": "chip_classification_config",
        "backend": {"solver": {"lr": lr, "type_hint": "solver", "rest": None}, **backend},
        "dataset": {
            "class_config": {"names": NAMES, "null_class": "other"},
            "scene_groups": {"train_scenes": ["a"], "validation_scenes": ["b"]},
        },
        "evaluators": [{"output_uri": f"{says}/scores"}],
    }
    write(folder / "pipeline-config.json", json.dumps(config))
    write(folder / "train/log.csv", LOG)
    scored = {"overall": item(NAMES, [[4, 0], [2, 2]]), "per_scene": {}}
    write(folder / "scores/validation_scenes/eval.json", json.dumps(scored))
    return folder


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "lab")


def test_each_file_belongs_to_the_nearest_adopted_folder(lab: Lab, tmp_path: Path) -> None:
    many = tmp_path / "many"
    for number in range(3):
        output(many / f"deep/er/{number}", lr=0.1 * number)
    output(many / "deep/er/0/again", lr=7)
    write(many / "notes.txt", "none of Raster Vision's")
    runs = lab.adopt(many, experiment="theirs")
    table = lab.runs("theirs")
    assert [run.id for run in runs] == sorted(run.id for run in runs)
    assert sorted(table["params.solver.lr"]) == [0, 0.1, 0.2, 7]
    assert sorted(table["name"]) == ["0", "1", "2", "again"]
    assert lab.artifacts().groupby("run").size().tolist() == [3] * 4
    assert lab.adopt(str(many), experiment="theirs") == runs


def test_path_of_the_config_adopts_its_folder(lab: Lab, tmp_path: Path) -> None:
    folder = output(tmp_path / "out")
    assert lab.adopt(folder / "pipeline-config.json") == lab.adopt(folder)


def test_adopting_into_two_experiments_gives_different_run_ids(lab: Lab, tmp_path: Path) -> None:
    """Ids are the index of the table of runs, so they must be unique."""
    folder = output(tmp_path / "out")
    lab.adopt(folder)
    lab.adopt(folder, experiment="second")
    assert lab.runs().index.is_unique
    assert len(lab.runs()) == 2


def test_run_id_depends_on_the_config_time_and_file_contents(lab: Lab, tmp_path: Path) -> None:
    folder = output(tmp_path / "out")
    os.utime(folder / "pipeline-config.json", (0, 86_400))
    (run,) = lab.adopt(folder)
    assert run.id.startswith("19700102-000000-")
    assert str(lab.runs().loc[run.id, "created"]) == "1970-01-02 00:00:00+00:00"
    (other,) = Lab(tmp_path / "other").adopt(folder)
    assert other.id == run.id


def test_retrained_outputs_are_a_new_run_and_the_first_run_retains_its_history(
    lab: Lab, tmp_path: Path
) -> None:
    folder = output(tmp_path / "out")
    (first,) = lab.adopt(folder)
    output(folder, lr=0.5)
    write(folder / "train/log.csv", "epoch,train_loss\n0,9\n")
    (second,) = lab.adopt(folder)
    assert first != second
    history = lab.history()
    assert history.loc[history["run"] == first.id, "train_loss"].tolist() == [1.5, 1.25]
    assert history.loc[history["run"] == second.id, "train_loss"].tolist() == [9]
    with pytest.raises(RecordBroken, match=rf"has changed since the run {first.id} was adopted"):
        compare.configs(first)
    assert compare.configs(second, every=True)["backend.solver.lr"].tolist() == [0.5]


@pytest.mark.parametrize("lost", ["spec.json", "", "tables/evals.parquet"])
def test_interrupted_adoption_is_completed(lab: Lab, tmp_path: Path, lost: str) -> None:
    folder = output(tmp_path / "out")
    (run,) = lab.adopt(folder)
    complete = lab.store.files()
    lab.store.delete([run.key(lost), run.end_key] if lost else [run.end_key])
    assert lab.runs().empty
    assert lab.adopt(folder) == [run]
    assert lab.store.files() == complete
    assert lab.runs().loc[run.id, "state"] == "succeeded"


def test_outputs_without_a_log_have_no_history(lab: Lab, tmp_path: Path) -> None:
    folder = output(tmp_path / "out")
    shutil.rmtree(folder / "train")
    lab.adopt(folder)
    assert lab.history().empty
    assert len(lab.evals())


def test_evaluations_are_found_at_the_default_path_without_an_entry_in_the_config(
    lab: Lab, tmp_path: Path
) -> None:
    folder = output(tmp_path / "out", says="")
    (folder / "scores").rename(folder / "eval")
    lab.adopt(folder)
    assert lab.evals()["group"].unique().tolist() == ["validation"]


def test_parameters_are_the_plain_values_of_the_backend_config(lab: Lab, tmp_path: Path) -> None:
    parts = {
        "model": {"backbone": "resnet50", "external_def": {"uri": "/x.zip", "entrypoint": "unet"}},
        "data": {"img_sz": 128, "uri": "/chip", "augmentors": ["a"], "one": float("nan")},
    }
    folder = output(tmp_path / "out", **parts)
    (run,) = lab.adopt(folder, params={"solver.lr": 0.2, "sensor": "S2"})
    spec = lab.store.get_json(run.key("spec.json"))
    assert spec["params"] == {
        "solver.lr": 0.2,
        "model.backbone": "resnet50",
        "model.external_def.entrypoint": "unet",
        "data.img_sz": 128,
        "sensor": "S2",
    }


def test_params_function_replaces_the_parameters(lab: Lab, tmp_path: Path) -> None:
    def rate(config: dict[str, Any]) -> dict[str, Any]:
        return {"lr": config["backend"]["solver"]["lr"]}

    lab.adopt(output(tmp_path / "out"), params=rate)
    assert list(lab.runs().filter(like="params.")) == ["params.lr"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"x": object()}, "the parameter 'x' is .*, which JSON cannot hold"),
        (lambda _: 3, "params must return a dict .*, got 3"),
        ([1], r"params must be a dict or a function of the config, got \[1\]"),
    ],
)
def test_invalid_parameters_adopt_nothing(
    lab: Lab, tmp_path: Path, given: Any, message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        lab.adopt(output(tmp_path / "out"), params=given)
    assert lab.runs().empty


# Outputs that cannot be adopted


def not_evaluated(folder: Path) -> None:
    shutil.rmtree(folder / "scores")


def truncated_config(folder: Path) -> None:
    (folder / "pipeline-config.json").write_text('{"root_uri": ')


def no_pipeline_config(folder: Path) -> None:
    (folder / "pipeline-config.json").write_text("{}")


def truncated_eval(folder: Path) -> None:
    (folder / "scores/validation_scenes/eval.json").write_text("{")


def other_classes(folder: Path) -> None:
    scored = json.dumps({"overall": item(["a", "b"], [[1, 0], [0, 1]]), "per_scene": {}})
    (folder / "scores/validation_scenes/eval.json").write_text(scored)


def incomplete_scene(folder: Path) -> None:
    config = json.loads((folder / "pipeline-config.json").read_text())
    config["dataset"]["validation_scenes"] = [{"id": "b", "label_source": {"uri": "c"}}]
    (folder / "pipeline-config.json").write_text(json.dumps(config))


BAD = pytest.mark.parametrize(
    ("break_it", "error", "message"),
    [
        (not_evaluated, NotFound, r"/bad has not been evaluated: it has no eval/\*/eval.json"),
        (truncated_config, RecordBroken, r"/bad/pipeline-config.json is not whole JSON"),
        (no_pipeline_config, RecordBroken, r"/bad/pipeline-config.json is not a pipeline config"),
        (truncated_eval, RecordBroken, r"bad/scores/validation_scenes/eval.json is not whole JSON"),
        (other_classes, RecordBroken, r"/bad: eval/.* has the classes \['a', 'b'\]"),
        (incomplete_scene, RecordBroken, r"/bad is not valid output of Raster Vision: KeyError"),
    ],
)


@BAD
def test_error_explains_why_outputs_cannot_be_adopted(
    lab: Lab,
    tmp_path: Path,
    break_it: Callable[[Path], None],
    error: type[Exception],
    message: str,
) -> None:
    break_it(output(tmp_path / "many/bad"))
    for uri in (tmp_path / "many/bad", tmp_path / "many"):
        with pytest.raises(error, match=message):
            lab.adopt(uri)
    assert [key for key, _ in lab.store.files()] == ["rvlab.json"]


@BAD
def test_invalid_outputs_among_several_are_left_out_with_a_warning(
    lab: Lab,
    tmp_path: Path,
    break_it: Callable[[Path], None],
    error: type[Exception],
    message: str,
) -> None:
    break_it(output(tmp_path / "many/bad"))
    output(tmp_path / "many/good")
    with pytest.warns(UserWarning, match=f"{message}.* This folder is left out") as warned:
        assert len(lab.adopt(tmp_path / "many")) == 1
    assert len(warned) == 1
    assert warned[0].filename == __file__
    assert lab.runs()["name"].tolist() == ["good"]


def test_error_names_a_folder_without_outputs(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=f"nor hparams.yaml .* exists in {tmp_path}/none or"):
        lab.adopt(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    for uri in ("http://host/out", "s3://bucket/../out", ""):
        with pytest.raises(
            SpecError, match=r"cannot be a folder of outputs|is not the address of a store"
        ):
            lab.adopt(uri)
    with pytest.raises(SpecError, match="is not a valid experiment name"):
        lab.adopt(output(tmp_path / "out"), experiment="a/b")


# Reading adopted runs


def test_reading_the_config_of_an_ordinary_run_takes_one_get(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(lab.store.uri, "towns", "20261123-154201-4f2a9c")
    lab.store.put_json(run.key("rv", "pipeline-config.json"), {"root_uri": run.rv_uri, "a": 1})
    keys: list[str] = []
    get = Store.get
    monkeypatch.setattr(
        Store, "get", lambda self, key, **limit: [keys.append(key), get(self, key, **limit)][1]
    )
    assert rv_outputs.read_rv_config(lab.store, run)["a"] == 1
    assert keys == [run.key("rv", "pipeline-config.json")]


def test_moved_store_finds_its_configs(lab: Lab) -> None:
    run = Run(lab.store.uri, "towns", "20261123-154201-4f2a9c")
    was = "s3://old/towns/20261123-154201-4f2a9c/rv"
    config = {"root_uri": was, "a": [f"{was}/x", f"{was}-y"], "b": {"c": was}, "d": 1}
    lab.store.put_json(run.key("rv", "pipeline-config.json"), config)
    now = run.rv_uri
    expected = {"root_uri": now, "a": [f"{now}/x", f"{was}-y"], "b": {"c": now}, "d": 1}
    assert rv_outputs.read_rv_config(lab.store, run) == expected


def test_run_that_was_not_adopted_is_read_from_its_own_folder_only(
    lab: Lab, tmp_path: Path
) -> None:
    (run,) = lab.adopt(output(tmp_path / "out"))
    spec = lab.store.get_json(run.key("spec.json"))
    lab.store.put_json(run.key("spec.json"), {**spec, "engine": "local"})
    with pytest.raises(KeyMissing, match=f"{run.rv_uri}/pipeline-config.json does not exist"):
        rv_outputs.read_rv_config(lab.store, run)
    lab.store.delete([run.key("spec.json")])
    with pytest.raises(KeyMissing, match=f"{run.rv_uri}/pipeline-config.json does not exist"):
        rv_outputs.read_rv_config(lab.store, run)


@pytest.mark.parametrize("place", ["http://host/out", "s3://bucket/a/../b", "file+x://y", ""])
def test_record_with_an_invalid_outputs_uri_is_refused(
    lab: Lab, tmp_path: Path, place: str
) -> None:
    (run,) = lab.adopt(output(tmp_path / "out"))
    spec = lab.store.get_json(run.key("spec.json"))
    lab.store.put_json(run.key("spec.json"), {**spec, "places": {"root_uri": place}})
    with pytest.raises(SpecError):
        rv_outputs.read_rv_config(lab.store, run)


def test_error_names_the_uri_of_deleted_outputs(lab: Lab, tmp_path: Path) -> None:
    folder = output(tmp_path / "out")
    (run,) = lab.adopt(folder)
    shutil.rmtree(folder)
    with pytest.raises(KeyMissing, match=f"^{folder}/pipeline-config.json does not exist"):
        rv_outputs.read_rv_config(lab.store, run)
    assert len(lab.history()) == 2
    assert compare.configs([run]).shape == (1, 0)
    with pytest.raises(RasterError, match="does not exist"):
        plot.predictions(lab.runs())


def test_outputs_on_any_storage_are_adopted(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RVLAB_READ__ALLOW", '["memory://adopted-from"]')
    there = Store("memory://adopted-from")
    folder = output(tmp_path / "out")
    for path in folder.rglob("*.*"):
        there.put(str(path.relative_to(folder)), path.read_bytes())
    (run,) = lab.adopt("memory://adopted-from")
    assert compare.configs(run, every=True)["evaluators[0].output_uri"].tolist() == [
        "{run}/rv/scores"
    ]
    assert lab.artifacts()["uri"].str.startswith("memory://adopted-from/").all()


def test_outputs_in_the_bucket_of_a_store_use_its_access() -> None:
    access = S3Access("http://h:1", "the-key", "the-secret")
    register_store(Store("s3://a-bucket/lab", access))
    assert store_for_uri("s3://a-bucket/outputs/x").access is access
    assert store_for_uri("s3://a-bucket/outputs/x").uri == "s3://a-bucket"
    assert store_for_uri("s3://a-bucket-too/x").access is not access
