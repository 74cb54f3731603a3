"""The compiled pipeline, read from its YAML."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf.json_format import ParseDict
from kfp.pipeline_spec import pipeline_spec_pb2

from rvlab import Lab
from rvlab.errors import SpecError
from rvlab.pipeline.compile import compile_pipeline, pipeline_name
from rvlab.recipes import Recipe, find_recipe, shipped_recipes
from rvlab.settings import S3, Profile, StepResources, Toleration
from rvlab.store import S3Access, Store

PROFILE = Profile(
    image="registry.example/rvlab:1",
    image_pull_secrets=("regcred",),
    s3=S3(cluster_endpoint="http://s3.example:9000", region="eu-1", secret="bucket-keys"),
    steps={
        "default": StepResources(cpu="1", memory="2Gi", retries=1),
        "train": StepResources(
            memory="16Gi",
            gpu=2,
            shm="4Gi",
            timeout_s=3600,
            node_selector={"disk": "ssd"},
            tolerations=(Toleration(key="gpu", operator="Exists", effect="NoSchedule"),),
            env={"NCCL_DEBUG": "INFO"},
        ),
    },
)
STORE = "s3://bucket/prefix"


def documents(recipe: str = "synthetic_town", profile: Profile = PROFILE) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(compile_pipeline(find_recipe(recipe), profile, store=STORE)))


@pytest.fixture(scope="module")
def town() -> list[dict[str, Any]]:
    return documents()


@pytest.fixture(scope="module")
def tasks(town: list[dict[str, Any]]) -> dict[str, Any]:
    return dict(town[0]["root"]["dag"]["tasks"])


@pytest.mark.parametrize("recipe", shipped_recipes())
def test_every_shipped_recipe_is_a_valid_pipeline_spec(recipe: str) -> None:
    spec, _ = documents(recipe)
    ParseDict(spec, pipeline_spec_pb2.PipelineSpec())


def test_lab_compiles_only_for_a_store_that_pods_can_reach(tmp_path: Path) -> None:
    text = Lab(Store(STORE, S3Access("http://127.0.0.1:9", "key", "secret"))).compile(
        "synthetic_town"
    )
    assert f"{STORE}" in text
    with pytest.raises(SpecError, match=r"^Pods cannot reach the store '/.*' \(the lab's\)\. Use"):
        Lab(tmp_path).compile("synthetic_town")


def test_compiling_in_another_process_returns_the_same_bytes() -> None:
    code = (
        "from rvlab.pipeline.compile import compile_pipeline; from rvlab.recipes import "
        "find_recipe;"
        "from rvlab.settings import Profile; import hashlib;"
        "text = compile_pipeline(find_recipe('synthetic_town'), Profile(), store='s3://b');"
        "print(hashlib.sha256(text.encode()).hexdigest())"
    )
    said = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (1, 2)
    }
    assert len(said) == 1


def test_the_inputs_are_the_parameters_with_their_types_and_defaults(
    town: list[dict[str, Any]],
) -> None:
    shown = town[0]["root"]["inputDefinitions"]["parameters"]
    assert shown["lr"] == {
        "defaultValue": 0.01,
        "isOptional": True,
        "parameterType": "NUMBER_DOUBLE",
    }
    assert shown["epochs"]["parameterType"] == "NUMBER_INTEGER"
    assert shown["nochip"]["parameterType"] == "BOOLEAN"
    assert shown["splits"] == {
        "defaultValue": 1.0,
        "isOptional": True,
        "parameterType": "NUMBER_INTEGER",
    }
    given = set(find_recipe("synthetic_town").signature.parameters)
    ours = {"data_uri", "splits", "seed", "rvlab_store", "rvlab_experiment", "rvlab_run"}
    assert set(shown) == given | ours


def test_chip_and_predict_loop_over_the_splits_and_are_joined(
    tasks: dict[str, Any], town: list[dict[str, Any]]
) -> None:
    for loop, inner, after, joined in (
        ("for-loop-1", "chip", "analyze", "train"),
        ("for-loop-2", "predict", "train", "eval"),
    ):
        items = tasks[loop]["parameterIterator"]["items"]["inputParameter"]
        source = tasks[loop]["inputs"]["parameters"][items]["taskOutputParameter"]
        assert source["producerTask"] == "configure"
        assert after in tasks[loop]["dependentTasks"]
        assert list(town[0]["components"][f"comp-{loop}"]["dag"]["tasks"]) == [inner]
        done = tasks[joined]["inputs"]["parameters"]["done"]["taskOutputParameter"]
        assert done["producerTask"] == loop
    assert "eval" in tasks["bundle"]["dependentTasks"]
    assert "bundle" in tasks["summarize"]["dependentTasks"]


def test_no_task_is_cached_or_has_an_exit_handler(town: list[dict[str, Any]]) -> None:
    def all_tasks(dags: Sequence[Any]) -> list[dict[str, Any]]:
        return [task for dag in dags for task in dag["tasks"].values()]

    loops = [part["dag"] for part in town[0]["components"].values() if "dag" in part]
    for task in all_tasks([town[0]["root"]["dag"], *loops]):
        assert not task.get("cachingOptions", {}).get("enableCache")
        assert "triggerPolicy" not in task


def test_the_yaml_names_the_secret_and_does_not_contain_it(
    town: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "who-i-am")
    text = compile_pipeline(find_recipe("synthetic_town"), PROFILE, store=STORE)
    assert "very-secret" not in text
    assert "who-i-am" not in text
    for settings in town[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
        (secret,) = settings["secretAsEnv"]
        assert secret["secretName"] == "bucket-keys"
        assert [one["envVar"] for one in secret["keyToEnv"]] == [
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
        ]


def test_each_step_gets_its_resources(town: list[dict[str, Any]]) -> None:
    executors = town[0]["deploymentSpec"]["executors"]
    train = executors["exec-train"]["container"]
    assert train["resources"]["accelerator"]["resourceType"] == "nvidia.com/gpu"
    assert train["resources"]["accelerator"]["resourceCount"] == "2"
    assert train["resources"]["resourceMemoryLimit"] == "16Gi"
    assert train["resources"]["resourceCpuLimit"] == "1"
    assert "accelerator" not in executors["exec-eval"]["container"]["resources"]
    env = {one["name"]: one["value"] for one in train["env"]}
    assert env["AWS_ENDPOINT_URL"] == "http://s3.example:9000"
    assert env["AWS_S3_ENDPOINT"] == "s3.example:9000"
    assert env["NCCL_DEBUG"] == "INFO"
    assert env["RVLAB_IMAGE"] == train["image"] == "registry.example/rvlab:1"
    placed = town[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert placed["exec-train"]["activeDeadlineSeconds"] == "3600"
    assert placed["exec-train"]["emptyDirMounts"][0]["mountPath"] == "/dev/shm"
    assert placed["exec-train"]["nodeSelector"]["labels"] == {"disk": "ssd"}
    assert placed["exec-train"]["tolerations"][0]["key"] == "gpu"
    assert "activeDeadlineSeconds" not in placed["exec-eval"]
    assert placed["exec-eval"]["imagePullSecret"][0]["secretName"] == "regcred"


def test_any_source_text_is_in_the_pipeline_unchanged() -> None:
    source = "NOTE = \"python3 {{$.x}} 'quoted' ü\"\n\ndef get_config(runner, root_uri): pass\n"
    recipe = Recipe("My Recipe!", source)
    spec, _ = yaml.safe_load_all(compile_pipeline(recipe, Profile(), store=STORE))
    assert spec["pipelineInfo"]["name"] == pipeline_name(recipe) == "my-recipe"
    given = spec["root"]["dag"]["tasks"]["configure"]["inputs"]["parameters"]
    held = given["rvlab_source"]["runtimeValue"]["constant"]
    assert base64.b64decode(held).decode() == source


@pytest.mark.parametrize("name", ["source", "recipe", "job", "step", "template", "items", "given"])
def test_a_parameter_may_have_a_name_that_is_used_internally(name: str) -> None:
    recipe = Recipe("towns", f"def get_config(runner, {name}: int = 1): pass\n")
    spec, _ = yaml.safe_load_all(compile_pipeline(recipe, Profile(), store=STORE))
    assert name in spec["root"]["inputDefinitions"]["parameters"]


@pytest.mark.parametrize(
    "default", ["'two\\nlines'", "'a\\u2028b'", "7", "'yes'", "3.5", "[1]", "10**20", "True"]
)
@pytest.mark.parametrize("kind", ["str", "int", "bool", "float", "list"])
def test_any_default_of_any_parameter_compiles_to_yaml(kind: str, default: str) -> None:
    recipe = Recipe("r" * 200, f"def get_config(runner, a: {kind} = {default}): pass\n")
    assert len(list(yaml.safe_load_all(compile_pipeline(recipe, Profile(), store=STORE)))) == 2
