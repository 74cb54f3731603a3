"""Limits of parameters: annotations of get_config, checked at submission and when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

import rvlab
from rvlab.errors import SpecError
from rvlab.recipes import find_recipe, shipped_recipes
from rvlab.recipes.signature import Parameter, Signature, signature
from rvlab.recipes.value_limits import AtMost, validate_parameters


def read(head: str, before: str = "") -> Signature:
    return signature(f"{before}\ndef get_config(runner, {head}):\n    return None\n", "towns")


@pytest.mark.parametrize(
    ("annotation", "valid", "invalid", "why"),
    [
        ("Annotated[int, Field(ge=16)]", 16, 7, "must be at least 16, got 7."),
        ("Annotated[int, Field(gt=0, le=9)]", 9, 10, "must be at most 9, got 10."),
        ("Annotated[int, Field(ge=32, multiple_of=32)]", 64, 48, "must be a multiple of 32, got"),
        ("Annotated[float, Field(gt=0)]", 1, 0, "must be above 0, got 0."),
        ("Annotated[float, Field(gt=0, lt=1)]", 0.5, 1.0, "must be below 1, got 1.0."),
        ("Annotated[int, Field(ge=2)] | None", None, 1, "must be at least 2, got 1."),
        ("Annotated[list[int], Field(max_length=1)] | None", [1], [1, 2], "at most 1 long, got"),
        ("Annotated[list[int], Field(min_length=2)]", [1, 2], [1], "must be at least 2 long, got"),
        ("Annotated[str, Field(pattern='^a')]", "ab", "b", "must be text that matches '^a', got"),
        ("'Annotated[int, Field(ge=LEAST)]'", 3, 2, "must be at least 3, got 2."),
        ("Width", 4, 2, "must be at least 3, got 2."),
        ("Annotated[int, Field(ge=16)]", 16, "16", "the parameter 'x' is int, but '16' was given"),
        ("Annotated[int, Field(ge=16)]", 16, 7.5, "the parameter 'x' is int, but 7.5 was given"),
    ],
)
def test_value_outside_of_its_limits_is_refused_with_the_limit(
    annotation: str, valid: Any, invalid: Any, why: str
) -> None:
    found = read(f"x: {annotation}", "LEAST = 3\nWidth = Annotated[int, Field(ge=LEAST)]")
    assert found.bind({"x": valid})[0] == {"x": valid}
    with pytest.raises(SpecError) as raised:
        found.bind({"x": invalid})
    assert why in str(raised.value)
    assert str(raised.value).startswith("towns: ")


@pytest.mark.parametrize(
    "annotation",
    [
        "Annotated[int, Field(ge=make())]",
        "Annotated[int, Field(default_factory=print)]",
        "Annotated[int, Field(**{'ge': 3})]",
        "Annotated[int, Other(3)]",
        "Annotated[int]",
        "Annotated[int, AtMost('a', 'b')]",
        "Itself",
    ],
)
def test_limits_that_cannot_be_read_from_the_source_are_left_to_the_recipe(annotation: str) -> None:
    found = read(f"x: {annotation}", "Itself = Itself | None")
    assert found.bind({"x": 1})[0] == {"x": 1}


def test_limit_that_does_not_fit_the_type_is_an_error_of_the_recipe() -> None:
    with pytest.raises(SpecError, match=r"^towns: the limits of the parameter 'x' do not fit its"):
        read("x: Annotated[str, Field(ge=1)]").bind({"x": "a"})


def test_limit_by_another_parameter_includes_defaults() -> None:
    found = read(
        "chip_px: Annotated[int, Field(ge=16), AtMost('scene_px')] = 128, scene_px: int = 512"
    )
    assert found.bind({"chip_px": 512})[0]["chip_px"] == 512
    for given in ({"chip_px": 600}, {"scene_px": 100}):
        with pytest.raises(SpecError, match=r"^towns: chip_px must be at most scene_px, which is"):
            found.bind(given)


def test_limits_are_described_and_text_is_parsed_by_type() -> None:
    found = read("x: Annotated[int, Field(ge=16, le=64), AtMost('y')], y: int = 3")
    one = found.parameters["x"]
    assert (one.type_text, one.limits) == ("int", "at least 16, at most 64, at most y")
    assert (one.kind, found.parameters["y"].limits) == (int, "")
    assert found.from_text({"x": "7", "y": "a"}) == {"x": 7, "y": "a"}
    assert Parameter("x", "no type (", 1).type_text == "no type ("


@pytest.mark.parametrize("name", shipped_recipes())
def test_included_recipe_states_a_limit_for_each_of_its_numbers(name: str) -> None:
    parameters = find_recipe(name).signature.parameters.values()
    assert not [one.name for one in parameters if one.kind in (int, float) and not one.limits]


@pytest.mark.parametrize(
    ("recipe", "params", "why"),
    [
        ("synthetic_town", {"chip_px": 7}, "chip_px must be at least 16, got 7."),
        ("synthetic_town", {"lr": 0}, "lr must be above 0, got 0."),
        ("synthetic_town_detection", {"chip_px": 600}, "at most scene_px, which is 512, got 600."),
        ("synthetic_town_classification", {"least_share": 1.0}, "must be below 1, got 1.0."),
        ("neon_trees", {"batch_size": 0}, "batch_size must be at least 1, got 0."),
        ("spacenet_vegas", {"raw_uri": "x", "chip_px": 651}, "must be at most 650, got 651."),
    ],
)
def test_submit_and_sweep_refuse_such_a_value_before_anything_is_written(
    tmp_path: Path, recipe: str, params: dict[str, Any], why: str
) -> None:
    lab = rvlab.Lab(tmp_path / "store")
    with pytest.raises(SpecError, match=f"^{recipe}: .*{why}$"):
        lab.submit(recipe, **params)
    with pytest.raises(SpecError, match=why):
        lab.sweep(recipe, [{**params, "epochs": 1}, params])
    assert not Path(lab.store.uri).exists() or lab.runs().empty


@validate_parameters
def get_config(
    runner: Any,
    *,
    chip_px: Annotated[int, Field(ge=16), AtMost("scene_px")] = 128,
    scene_px: int = 512,
    lr: Annotated[float, Field(gt=0)] = 1e-3,
    quarter: Literal["nw", "se"] = "nw",
    nochip: bool = False,
    **more: Any,
) -> dict[str, Any]:
    return {"chip_px": chip_px, "lr": lr, "nochip": nochip, **more}


def test_called_recipe_parses_text_and_receives_its_defaults() -> None:
    assert get_config(None) == {"chip_px": 128, "lr": 1e-3, "nochip": False}
    assert get_config(None, chip_px="64", lr="1e-2", nochip="true", other="3") == {
        "chip_px": 64,
        "lr": 1e-2,
        "nochip": True,
        "other": "3",
    }


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"chip_px": "7"}, "chip_px must be at least 16, got '7'."),
        ({"chip_px": 1.5}, "chip_px must be an integer, got 1.5."),
        ({"chip_px": True}, "chip_px must be an integer, got True."),
        ({"chip_px": 600}, "chip_px must be at most scene_px, which is 512, got 600."),
        ({"scene_px": None}, "scene_px must be an integer, got None."),
        ({"lr": "inf"}, "lr must be a finite number, got 'inf'."),
        ({"lr": "fast"}, "lr must be a number, got 'fast'."),
        ({"quarter": "ne"}, "quarter must be one of 'nw', 'se', got 'ne'."),
        ({"nochip": "maybe"}, "nochip must be true or false, got 'maybe'."),
    ],
)
def test_called_recipe_refuses_an_invalid_value(params: dict[str, Any], why: str) -> None:
    with pytest.raises(SpecError) as raised:
        get_config(None, **params)
    assert str(raised.value) == why
