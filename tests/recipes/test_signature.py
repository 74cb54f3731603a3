"""Tests of signatures read from source, and of the validation of values."""

from __future__ import annotations

import importlib.util
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rvlab.errors import SpecError
from rvlab.recipes.literals import UNKNOWN_DEFAULT, json_value
from rvlab.recipes.signature import REQUIRED, Signature, signature


def read(head: str, before: str = "") -> Signature:
    return signature(f"{before}\ndef get_config(runner, {head}):\n    return None\n", "towns")


def bound(head: str, **given: Any) -> dict[str, Any]:
    return read(head).bind(given)[0]


# Reading


def test_names_annotations_and_defaults_are_read_in_order() -> None:
    found = read("root_uri: str, lr: float = 1e-3, epochs=2, *, names: list[str] = ['a'], test")
    assert list(found.parameters) == ["lr", "epochs", "names", "test"]
    assert [p.annotation for p in found.parameters.values()] == ["float", "", "list[str]", ""]
    assert [p.default for p in found.parameters.values()] == [1e-3, 2, ["a"], REQUIRED]
    assert found.places == ("root_uri",)
    assert not found.accepts_any


def test_runner_is_not_a_parameter_under_any_name() -> None:
    found = signature("def get_config(_, lr=1): ...", "towns")
    assert list(found.parameters) == ["lr"]
    assert not signature("def get_config(): ...", "towns").parameters


def test_defaults_that_are_constants_of_the_file_are_resolved() -> None:
    before = "LR = 1e-3\nNAMES: list[str] = ['a']\nA = B = 3\nLATER: int\n"
    found = read("lr=LR, names=NAMES, b=B, later=LATER", before)
    assert [p.default for p in found.parameters.values()] == [1e-3, ["a"], 3, UNKNOWN_DEFAULT]


@pytest.mark.parametrize(
    "default", ["make()", "2 ** 3", "nowhere", "(1, 2)", "f'{1}'", "1j", "b'x'", "math.pi", "{1}"]
)
def test_default_that_is_not_json_is_resolved_by_the_recipe(default: str) -> None:
    assert read(f"x={default}").parameters["x"].default is UNKNOWN_DEFAULT
    assert bound(f"x={default}") == {}
    assert bound(f"x={default}", x=1) == {"x": 1}


def test_bind_resolves_defaults_and_separates_places() -> None:
    params, places = read(
        "root_uri, data_uri: SharedFolder = 'd', lr: float = 1, n: int = -2"
    ).bind({"data_uri": "s3://b/scenes", "n": 5})
    assert params == {"lr": 1.0, "n": 5}
    assert places == {"data_uri": "s3://b/scenes"}


def test_get_configs_is_preferred_if_defined() -> None:
    assert list(signature("def get_configs(runner, n: int): ...", "towns").parameters) == ["n"]
    both = "def get_config(runner, a): ...\ndef get_configs(runner, b): ..."
    assert list(signature(both, "towns").parameters) == ["b"]


def test_file_without_get_config_lists_the_functions_it_has() -> None:
    with pytest.raises(
        SpecError, match=r"^towns has no get_config function\. .* its functions are: a, b\.$"
    ):
        signature("def a(): ...\ndef b(): ...", "towns")
    with pytest.raises(SpecError, match=r"its functions are: none\.$"):
        signature("", "towns")


def test_syntax_error_is_reported_with_its_line() -> None:
    with pytest.raises(SpecError, match=r"^towns is not Python: .* in line 2\.$"):
        signature("x = 1\ndef get_config(", "towns")
    with pytest.raises(SpecError, match=r"^towns is not Python: .*null bytes"):
        signature("\0", "towns")


def test_positional_only_parameter_is_rejected() -> None:
    with pytest.raises(SpecError, match="'lr' is positional only, but Raster Vision gives"):
        signature("def get_config(runner, lr, /): ...", "towns")
    assert list(signature("def get_config(runner, /, lr): ...", "towns").parameters) == ["lr"]


def test_source_is_not_executed() -> None:
    source = "raise SystemExit\ndef get_config(runner, x: print('run') = print('run')): ..."
    assert signature(source, "towns").bind({"x": 1})[0] == {"x": 1}


# Validation


@pytest.mark.parametrize(
    ("annotation", "given", "held"),
    [
        ("bool", True, True),
        ("int", 3, 3),
        ("float", 1, 1.0),
        ("float", 1e-3, 1e-3),
        ("str", "a", "a"),
        ("list", [1, "a"], [1, "a"]),
        ("list[int]", [1, 2], [1, 2]),
        ("List[float]", [1], [1.0]),
        ("dict", {"a": [1]}, {"a": [1]}),
        ("dict[str, int]", {"a": 1}, {"a": 1}),
        ("tuple[int, int]", [1, 2], [1, 2]),
        ("tuple[int, ...]", [1, 2, 3], [1, 2, 3]),
        ("Literal['a', 2]", 2, 2),
        ("Optional[int]", None, None),
        ("int | None", None, None),
        ("None | list[str]", ["a"], ["a"]),
        ("Union[int, str]", "a", "a"),
        ("Any", {"a": None}, {"a": None}),
        ("'int'", 3, 3),
        ("'Optional[float]'", 3, 3.0),
        ("typing.Optional[int]", "not checked", "not checked"),
        ("RVPipelineConfig", "not checked", "not checked"),
        ("Optional['Unknown']", "not checked", "not checked"),
        ("'a number of things'", "not checked", "not checked"),
        ("Literal", 1, 1),
        ("int['x']", 1, 1),
        ("5", 1, 1),
    ],
)
def test_value_that_matches_the_annotation_is_accepted(
    annotation: str, given: Any, held: Any
) -> None:
    result = bound(f"x: {annotation}", x=given)["x"]
    assert result == held
    assert type(result) is type(held)


@pytest.mark.parametrize(
    ("annotation", "given", "why"),
    [
        ("bool", 1, "valid boolean"),
        ("bool", "yes", "valid boolean"),
        ("int", True, "valid integer"),
        ("int", 1.0, "valid integer"),
        ("int", "3", "valid integer"),
        ("float", True, "valid number"),
        ("float", "1e-3", "valid number"),
        ("str", 3, "valid string"),
        ("list[int]", ["a"], "valid integer"),
        ("list[int]", 1, "valid array"),
        ("tuple[int, int]", [1, 2, 3], "at most 2"),
        ("dict[str, int]", {"a": "b"}, "valid integer"),
        ("Literal['a', 'b']", "c", "'a' or 'b'"),
        ("Optional[int]", "a", "valid integer"),
        ("int | None", 1.5, "integer"),
        ("'int'", "x", "valid integer"),
    ],
)
def test_value_that_violates_the_annotation_is_rejected(
    annotation: str, given: Any, why: str
) -> None:
    shown = annotation.strip('"') if annotation[0] != "'" else annotation[1:-1]
    with pytest.raises(SpecError) as told:
        bound(f"x: {annotation}", x=given)
    assert str(told.value).startswith(
        f"towns: the parameter 'x' is {shown}, but {given!r} was given ("
    )
    assert why in str(told.value)
    assert isinstance(told.value, ValueError)


@pytest.mark.parametrize(
    ("default", "right", "wrong", "kind"),
    [
        ("1", 2.5, "a", "int | float"),
        ("0.5", 2, "a", "int | float"),
        ("'a'", "b", 1, "str"),
        ("True", False, 1, "bool"),
        ("[1]", ["a"], 1, "list"),
        ("{}", {"a": 1}, [1], "dict"),
    ],
)
def test_type_is_inferred_from_the_default_without_annotation(
    default: str, right: Any, wrong: Any, kind: str
) -> None:
    assert bound(f"x={default}", x=right) == {"x": right}
    with pytest.raises(SpecError, match=f"the parameter 'x' is .*, but {re.escape(repr(wrong))}"):
        bound(f"x={default}", x=wrong)


@pytest.mark.parametrize(
    ("head", "given", "held"),
    [
        ("x=12", 300.0, 300),
        ("x=12", np.float64(300), 300),
        ("x=12", 2.5, 2.5),
        ("x: PositiveInt = 12", 300.0, 300),
        ("x: int | float = 1", 300.0, 300.0),
        ("x: float = 1", 300, 300.0),
        ("x=0.5", 300.0, 300.0),
        ("x=True", True, True),
    ],
)
def test_integral_float_becomes_an_integer_where_the_default_is_one(
    head: str, given: Any, held: Any
) -> None:
    result = bound(head, x=given)["x"]
    assert (result, type(result)) == (held, type(held))


@pytest.mark.parametrize("annotation", ["int", "int | None", "Optional[int]", "Union[int, str]"])
def test_integer_parameter_rejects_a_float(annotation: str) -> None:
    with pytest.raises(SpecError, match=r"but 300\.0 was given"):
        bound(f"x: {annotation} = 12", x=300.0)


def test_any_value_is_accepted_without_annotation_and_default() -> None:
    assert bound("x, y=None", x="a", y=[1]) == {"x": "a", "y": [1]}


def test_none_is_allowed_where_it_is_the_default() -> None:
    assert bound("lr: float = None", lr=None) == {"lr": None}
    with pytest.raises(SpecError, match="the parameter 'lr' is float, but None was given"):
        bound("lr: float = 1", lr=None)


@pytest.mark.parametrize(
    ("scalar", "held"),
    [
        (np.float64(0.5), 0.5),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.uint8(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.array(3), 3),
    ],
)
def test_numpy_scalars_become_pythons(scalar: Any, held: Any) -> None:
    result = bound("x", x=scalar)["x"]
    assert result == held
    assert type(result) is type(held)
    assert bound("x", x=[{"a": scalar}]) == {"x": [{"a": held}]}


NOT_JSON = "which JSON cannot hold. Give"


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (math.nan, f"is nan, {NOT_JSON} a finite number."),
        (math.inf, f"is inf, {NOT_JSON} a finite number."),
        (-math.inf, f"is -inf, {NOT_JSON} a finite number."),
        (np.float32("nan"), f"is nan, {NOT_JSON} a finite number."),
        ((1, 2), f"is (1, 2), a tuple, {NOT_JSON} a list."),
        ({1}, f"is {{1}}, a set, {NOT_JSON} a list."),
        (range(3), f"is range(0, 3), a range, {NOT_JSON} a number, a string, a list or a dict."),
        (np.arange(2), f"is array([0, 1]), a ndarray, {NOT_JSON} a list."),
        (Path("/a"), f"is PosixPath('/a'), a PosixPath, {NOT_JSON} a string."),
        (b"a", f"is b'a', a bytes, {NOT_JSON} a number, a string, a list or a dict."),
        (1j, f"is 1j, a complex, {NOT_JSON} a number, a string, a list or a dict."),
    ],
)
def test_value_that_is_not_json_is_rejected_at_any_depth(value: Any, sentence: str) -> None:
    for nested in (value, [value], {"a": [1, {"b": value}]}):
        for head in ("x", "x: float = 1", "**more"):
            with pytest.raises(SpecError) as told:
                read(head).bind({"x": nested})
            assert str(told.value) == f"towns: the parameter 'x' {sentence}"


def test_dict_with_number_keys_is_rejected() -> None:
    with pytest.raises(SpecError, match=r"is \{1: 'a'\}, a dict, which JSON cannot hold"):
        bound("x: dict", x={1: "a"})


def test_long_value_is_abbreviated_in_the_message() -> None:
    with pytest.raises(SpecError, match=r"is \(0, 1, .{45,60}\.\.\., a tuple, ") as told:
        bound("x", x=tuple(range(1000)))
    assert len(str(told.value)) < 200


def test_unknown_name_suggests_the_nearest_one() -> None:
    with pytest.raises(SpecError) as told:
        bound("chip_px: int = 1, lr=1", chp_px=2)
    assert str(told.value) == "towns has no parameter 'chp_px'. Did you mean 'chip_px'?"
    with pytest.raises(SpecError, match=r"'zzz'\. There are 'chip_px', 'lr'\.$"):
        bound("root_uri, chip_px=1, lr=1", zzz=2)
    with pytest.raises(SpecError, match=r"^towns has no parameter 'x'\. There are none\.$"):
        bound("root_uri", x=1)


def test_root_uri_is_neither_accepted_nor_suggested() -> None:
    for word in ("root_uri", "runner"):
        with pytest.raises(SpecError, match=f"^towns: '{word}' is filled in by rvlab. Leave it"):
            bound("root_uri, lr=1", **{word: "x"})
    with pytest.raises(SpecError, match=r"'root_ur'\. There are 'lr'"):
        bound("root_uri, lr=1", root_ur="x")


def test_required_parameter_that_is_missing_is_named_with_its_type() -> None:
    with pytest.raises(SpecError, match=r"^towns needs the parameter 'n' \(int\)\. Give it\.$"):
        bound("n: int")
    with pytest.raises(SpecError, match=r"^towns needs the parameter 'n'\. Give it\.$"):
        bound("*, n")


def test_place_is_a_uri() -> None:
    with pytest.raises(SpecError, match="'data_uri' is a URI, but PosixPath"):
        bound("data_uri: SharedFolder", data_uri=Path("/x"))


@pytest.mark.parametrize(
    "annotation",
    ["SharedFolder", "data_dir.SharedFolder", "'SharedFolder'", "rvlab.x.SharedFolder"],
)
def test_parameter_with_the_annotation_of_a_shared_folder_is_a_place(annotation: str) -> None:
    found = read(f"root_uri: str, tiles: {annotation} = None, data_uri: str | None = None")
    assert found.places == ("root_uri", "tiles")
    assert list(found.parameters) == ["data_uri"]


@pytest.mark.parametrize(
    ("head", "held"),
    [
        ("data_uri: str = 's3://mine/scenes'", {"data_uri": "s3://mine/scenes"}),
        ("data_uri: str | None = None", {"data_uri": None}),
        ("data_uri='/data'", {"data_uri": "/data"}),
        ("data_uri: str = make()", {}),
    ],
)
def test_data_uri_of_a_users_recipe_is_an_ordinary_parameter(
    head: str, held: dict[str, Any]
) -> None:
    params, places = read(f"root_uri: str, {head}").bind({})
    assert (params, places) == (held, {})
    assert read(f"root_uri: str, {head}").bind({"data_uri": "/b"}) == ({"data_uri": "/b"}, {})


def test_required_data_uri_of_a_users_recipe_is_required() -> None:
    with pytest.raises(SpecError, match=r"^towns needs the parameter 'data_uri' \(str\)\. Give it"):
        bound("root_uri: str, data_uri: str")


def test_kwargs_accept_any_name() -> None:
    assert bound("lr=1, **more", lr=2, other="a") == {"lr": 2, "other": "a"}


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(plain)
def test_json_values_are_unchanged(value: Any) -> None:
    assert json_value(value, "it") == value
    assert read("x").bind({"x": value})[0] == {"x": value}
    assert json.loads(json.dumps(value)) == value


@given(st.text(max_size=30))
def test_any_annotation_can_be_read(annotation: str) -> None:
    found = signature(f"def get_config(runner, x: {annotation!r}): ...", "towns")
    assert repr(found.parameters["x"].hint)


def _examples() -> list[Path]:
    spec = importlib.util.find_spec("rastervision.pytorch_backend")
    if spec is None or spec.origin is None:
        return []
    found = (Path(spec.origin).parent / "examples").rglob("*.py")
    return [path for path in found if "def get_config" in path.read_text()]


def test_raster_visions_own_examples_are_read() -> None:
    found = {path.stem: signature(path.read_text(), path.stem) for path in _examples()}
    if not found:
        pytest.skip("Raster Vision is not installed")
    assert {"spacenet_rio", "cowc_potsdam", "isprs_potsdam", "spacenet_vegas"} <= set(found)
    for one in found.values():
        needed = {n: "s3://b/x" for n, p in one.parameters.items() if p.default is REQUIRED}
        params, _ = one.bind(needed)
        assert list(params) == list(one.parameters)
        assert json.loads(json.dumps(params)) == params
    assert found["isprs_potsdam"].places == ("root_uri",)
    assert found["isprs_potsdam"].bind({"raw_uri": "r"})[0] == {
        "raw_uri": "r",
        "processed_uri": None,
        "multiband": False,
        "external_model": True,
        "augment": False,
        "nochip": True,
        "num_epochs": 10,
        "batch_sz": 8,
        "test": False,
    }
    assert found["tiny_spacenet"].parameters == {}
