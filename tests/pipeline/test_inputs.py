"""A recipe's parameters as the inputs of a pipeline, encoded and decoded."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rvlab.errors import SpecError
from rvlab.pipeline.compile import compile_pipeline
from rvlab.pipeline.inputs import (
    MAX_INPUT_CHARS,
    RUN,
    SEED,
    SPLITS,
    STORE,
    PipelineInput,
    check_defaults,
    pack_source,
    pipeline_arguments,
    pipeline_inputs,
    unpack_source,
)
from rvlab.pipeline.start import validate_pipeline
from rvlab.recipes import Recipe
from rvlab.recipes.literals import UNKNOWN_DEFAULT
from rvlab.recipes.signature import REQUIRED
from rvlab.settings import Profile

SOURCE = """
STEP = 3

def get_config(runner, root_uri: str, raw_uri: str, data_uri: SharedFolder = None, lr: float = 1,
               epochs: int = 12, name: str = "", nochip: bool = False, sizes: list = [1, 2],
               weights: list[float] = [1.0], maybe: float | None = None, anything=None,
               made=STEP * 2, options: dict = {"a": 1}):
    pass
"""


def of(source: str) -> dict[str, PipelineInput]:
    return {one.name: one for one in pipeline_inputs(Recipe("towns", source), "s3://b/x")}


def test_inputs_have_the_types_of_kubeflow_and_the_defaults_of_the_recipe() -> None:
    found = of(SOURCE)
    fields = {name: (one.kind, one.default, one.as_json) for name, one in found.items()}
    assert fields == {
        "raw_uri": (str, REQUIRED, False),
        "lr": (float, 1.0, False),
        "epochs": (int, 12, False),
        "name": (str, "", False),
        "nochip": (bool, False, False),
        "sizes": (list, [1, 2], False),
        "weights": (str, "[1.0]", True),
        "maybe": (str, "null", True),
        "anything": (str, "null", True),
        "made": (str, "", True),
        "options": (dict, {"a": 1}, False),
        "data_uri": (str, "", False),
        "splits": (int, 1, False),
        "seed": (int, 0, False),
        "rvlab_store": (str, "s3://b/x", False),
        "rvlab_experiment": (str, "default", False),
        "rvlab_run": (str, "", False),
    }
    assert type(found["lr"].default) is float


def test_the_seed_of_a_recipe_is_its_own_input() -> None:
    found = of("def get_config(runner, root_uri, seed: int = 7): pass")
    assert found[SEED].default == 7
    assert list(found) == [SEED, SPLITS, STORE, "rvlab_experiment", RUN]


@pytest.mark.parametrize("name", ["splits", "rvlab_run", "rvlab_store"])
def test_a_parameter_with_the_name_of_an_own_input_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match=f"the parameter '{name}' cannot be an input"):
        of(f"def get_config(runner, {name}=1): pass")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(VALUES)
def test_any_value_is_decoded_from_its_json_text(value: Any) -> None:
    one = PipelineInput("x", str, "null", as_json=True)
    assert one.decode(one.encode(value)) == value


def test_integers_in_lists_are_restored_from_floats() -> None:
    sizes = PipelineInput("sizes", list)
    assert json.dumps(sizes.decode([1.0, 2.5, {"a": 3.0}])) == '[1, 2.5, {"a": 3}]'


def test_text_from_the_form_is_decoded_as_json_if_it_is_json() -> None:
    one = PipelineInput("maybe", str, "null", as_json=True)
    assert one.decode("0.5") == 0.5
    assert one.decode("resnet18") == "resnet18"
    assert one.decode("null") is None
    assert one.decode("") is UNKNOWN_DEFAULT


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("run python3 now", "contains 'python3', which Kubeflow would replace"),
        ("{{$.inputs}}", r"contains '\{\{', which Kubeflow"),
        ({"a": ["{{item}}"]}, r"contains '\{\{', which Kubeflow"),
        (float("inf"), "must be finite, got inf"),
        (2**53 + 1, r"as floats, which are exact up to 9007199254740992\. Use a smaller"),
        ([1, {"a": -(2**60)}], "stores numbers as floats"),
    ],
)
def test_a_value_that_kubeflow_would_change_is_refused(value: object, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        pipeline_arguments([PipelineInput("x", str)], {"x": value})


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("name: str = '{{scene}}.tif'", r"The default of the parameter 'name' contains '\{\{'"),
        ("name='/usr/bin/python3'", "The default of the parameter 'name' contains 'python3'"),
        ("names: list = ['a', 'python3']", "'names' contains 'python3'"),
        ("names: list[str] = ['python3']", "'names' contains 'python3'"),
        ("options: dict = {'a': {'b': '{{'}}", r"'options' contains '\{\{'"),
        ("maybe: str | None = '{{a}}'", r"'maybe' contains '\{\{'"),
        ("sizes: list = [2**53, 9007199254740993]", None),  # only the recipe knows it
        ("sizes: list = [9007199254740993]", "stores numbers as floats, which are exact up to"),
        (f"text: str = {'x' * 60_000!r}", r"The defaults of the parameters have \d+ characters"),
        ("name: str = 'python2'", None),
        ("name: str", None),
    ],
)
def test_defaults_are_checked_as_values_are(head: str, said: str | None) -> None:
    """A run that is started in Kubeflow's pages uses the defaults."""
    recipe = Recipe("towns", f"def get_config(runner, {head}): pass\n")
    if said is None:
        check_defaults(pipeline_inputs(recipe, "s3://b/x"))
        return
    for refuse in (
        lambda: check_defaults(pipeline_inputs(recipe, "s3://b/x")),
        lambda: validate_pipeline(recipe, [], "s3://b/x"),
        lambda: compile_pipeline(recipe, Profile(image="x/y:1"), store="s3://b/x"),
    ):
        with pytest.raises(SpecError, match=said):
            refuse()


def test_store_that_kubeflow_would_change_is_refused() -> None:
    recipe = Recipe("towns", "def get_config(runner): pass\n")
    with pytest.raises(SpecError, match="parameter 'rvlab_store' contains 'python3'"):
        compile_pipeline(recipe, Profile(image="x/y:1"), store="s3://b/python3")


@pytest.mark.parametrize(("given", "held"), [(300.0, "300"), (300, "300"), (2.5, "2.5")])
def test_integer_that_kubeflow_returns_as_a_float_is_converted_back(
    given: float, held: str
) -> None:
    assert json.dumps(PipelineInput("epochs", int).decode(given)) == held


def test_inputs_that_are_too_long_for_a_command_are_refused() -> None:
    long = {"scenes": ["s3://bucket/scene.tif"] * 5000, "lr": 0.1}
    with pytest.raises(SpecError, match=r"have 1\d{5} characters, 'scenes' 1\d{5} of them"):
        pipeline_arguments([PipelineInput("scenes", list), PipelineInput("lr", float)], long)


@pytest.mark.parametrize(("lines", "plain"), [(1, True), (900, True), (20_000, False)])
def test_a_long_recipe_is_compressed_and_restored(lines: int, plain: bool) -> None:
    line = "# s3://bucket/scene-000.tif ü {{$.x}}\n"
    recipe = Recipe("towns", f"{line * lines}def get_config(runner): pass\n")
    text = pack_source(recipe)
    assert len(text) <= MAX_INPUT_CHARS
    assert unpack_source(text) == recipe.source
    assert (base64.b64encode(recipe.source.encode()).decode() == text) == plain


def test_a_recipe_that_is_too_long_for_a_command_is_refused() -> None:
    noise = random.Random(1).randbytes(100_000).hex()
    with pytest.raises(SpecError, match=r"towns is too long for a pipeline: \d+ characters"):
        pack_source(Recipe("towns", f"# {noise}\ndef get_config(runner): pass\n"))


def test_nested_braces_in_values_are_allowed() -> None:
    value = {"a": {"b": {"c": [{"d": {}}]}}}
    assert pipeline_arguments([PipelineInput("x", dict)], {"x": value}) == {"x": value}
    assert (
        json.loads(pipeline_arguments([PipelineInput("x", str, as_json=True)], {"x": value})["x"])
        == value
    )


@pytest.mark.parametrize("name", ["größe", "_x", "self"])
def test_a_parameter_with_an_invalid_input_name_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match=f"the parameter '{name}' cannot be an input of a pipeline"):
        of(f"def get_config(runner, {name}=1): pass")
