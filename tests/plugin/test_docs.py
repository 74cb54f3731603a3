"""The settings in docs/kubeflow.md equal those of the code."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

from pydantic import BaseModel

from rvlab.recipes import find_recipe
from rvlab.settings import S3, Profile, StepResources, Toleration, load_profile

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "kubeflow.md").read_text(encoding="utf-8")
GROUPS: dict[str, type[BaseModel]] = {
    "": Profile,
    "s3.": S3,
    "steps.STEP.": StepResources,
    "steps.STEP.tolerations.": Toleration,
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_the_first_settings_file_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "rvlab.toml"
    path.write_text(blocks("toml")[0])
    made = load_profile("kind", path)
    assert (made.host, made.store) == ("http://localhost:8080", "s3://mlpipeline/rvlab")
    assert made.s3 == S3(
        endpoint="http://localhost:9000",
        cluster_endpoint="http://seaweedfs.kubeflow:9000",
        secret="mlpipeline-minio-artifact",
    )
    assert made.resources("eval") == StepResources(cpu="1", memory="4Gi")
    assert made.resources("train") == StepResources(cpu="2", memory="6Gi", shm="1Gi")


def test_the_table_of_settings_has_every_key_and_its_default() -> None:
    section = PAGE.split("\n## Settings\n")[1].split("\n## ")[0]
    said = dict(re.findall(r"^\| `([\w.]+)` \| (.*?) \|", section, re.MULTILINE))
    known = {}
    for prefix, model in GROUPS.items():
        for name, field in model.model_fields.items():
            if f"{prefix}{name}" in ("s3", "steps"):
                continue  # tables of their own
            none = field.default is None
            known[prefix + name] = "–" if none else f"`{json.dumps(field.default)}`"
    known["ui"] = "`host`"
    assert said == known


def test_the_cells_are_python_and_their_parameters_exist() -> None:
    calls = [
        node
        for block in blocks("python")
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "lab.submit"
    ]
    assert len(calls) == 2
    for call in calls:
        recipe = find_recipe(ast.literal_eval(call.args[0])).signature
        given = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
        assert set(given) >= {"experiment", "splits"}
        recipe.bind({k: v for k, v in given.items() if k not in ("experiment", "splits")})
