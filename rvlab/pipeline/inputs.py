"""The inputs of a pipeline: the recipe's own parameters, typed, with their defaults."""

from __future__ import annotations

import base64
import json
import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rvlab.errors import SpecError
from rvlab.recipes import Recipe
from rvlab.recipes.literals import UNKNOWN_DEFAULT
from rvlab.recipes.signature import REQUIRED, ROOT_PARAMETER, Parameter

STORE, EXPERIMENT, RUN, SEED, SPLITS = (
    "rvlab_store",
    "rvlab_experiment",
    "rvlab_run",
    "seed",
    "splits",
)

CONFIGURE_INPUTS = ("rvlab_recipe", "rvlab_source", "rvlab_job")
"""Inputs of configure besides those of the pipeline."""

MAX_INPUT_CHARS = 50_000
"""Maximum length of the inputs, and of the source, in characters. Kubeflow passes both in a single
argument of a command, which Linux limits to 131,072 bytes, including escapes."""

_PACKED_PREFIX = "zlib:"

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

RECIPE_DEFAULT = ""
"""Text of an input whose default only the recipe knows."""

MAX_EXACT_INT = 2**53
"""Largest integer up to which a float represents every integer exactly."""

_TYPES = (bool, int, float, str, list, dict)
_UNSAFE_TEXT = ("python3", "{{")
"""Text that Kubeflow's launcher or Argo replaces inside arguments."""


@dataclass(frozen=True)
class PipelineInput:
    """One input of a pipeline.

    Args:
        name: Its name, also in Kubeflow's form that starts a run.
        kind: The Python type that Kubeflow shows and checks.
        default: Its default; REQUIRED if it has none.
        as_json: Whether it holds JSON text, because Kubeflow has no type for its values.
    """

    name: str
    kind: type
    default: Any = REQUIRED
    as_json: bool = False

    def encode(self, value: Any) -> Any:
        """Convert a parameter's value to the value of this input."""
        return json.dumps(value) if self.as_json else value

    def decode(self, given: Any) -> Any:
        """Convert the value of this input to a parameter's value; UNKNOWN_DEFAULT if it is empty.

        Kubeflow may return integers as floats; they are converted back.
        """
        if not self.as_json:
            return _as_integer(given) if self.kind in (int, list, dict) else given
        if given == RECIPE_DEFAULT:
            return UNKNOWN_DEFAULT
        try:
            return json.loads(given)
        except ValueError:
            return given  # plain text from Kubeflow's form


def pipeline_inputs(recipe: Recipe, store: str) -> list[PipelineInput]:
    """Return the inputs of a recipe's pipeline, its own parameters first.

    Args:
        recipe: The recipe.
        store: The store's URI, the default location of runs.

    Returns:
        An input for each parameter and each of `recipe.signature.places` except root_uri, then
        ``splits``, ``seed`` unless the recipe has one itself, and ``rvlab_store``,
        ``rvlab_experiment`` and ``rvlab_run``, which is empty for a run that is started in
        Kubeflow's own pages.

    Raises:
        SpecError: If the name of a parameter is invalid, or is the name of an input of rvlab.
    """
    signature = recipe.signature
    inputs = [
        _input_of_parameter(pipeline_input) for pipeline_input in signature.parameters.values()
    ]
    folders = [name for name in signature.places if name != ROOT_PARAMETER]
    inputs += [PipelineInput(name, str, RECIPE_DEFAULT) for name in folders]
    names = {pipeline_input.name for pipeline_input in inputs}
    odd = sorted(name for name in names if not _NAME.fullmatch(name) or name == "self")
    if odd:
        raise SpecError(
            f"{recipe.name}: the parameter {odd[0]!r} cannot be an input of a pipeline. Rename it: "
            "a letter first, then letters, digits and '_' (ASCII)."
        )
    taken = names & {SPLITS, STORE, EXPERIMENT, RUN, *CONFIGURE_INPUTS}
    if taken:
        raise SpecError(
            f"{recipe.name}: the parameter {min(taken)!r} cannot be an input of a pipeline, which "
            "has an input of that name already. Rename it."
        )
    inputs.append(PipelineInput(SPLITS, int, 1))
    if SEED not in names:
        inputs.append(PipelineInput(SEED, int, 0))
    return [
        *inputs,
        PipelineInput(STORE, str, store),
        PipelineInput(EXPERIMENT, str, "default"),
        PipelineInput(RUN, str, ""),
    ]


def pipeline_arguments(of: list[PipelineInput], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a run's pipeline.

    Args:
        of: The pipeline's inputs.
        values: By name; inputs without a value use their default.

    Raises:
        SpecError: If Kubeflow would change a value.
    """
    found = {one.name: one.encode(values[one.name]) for one in of if one.name in values}
    _check_values(found, "The parameter", "The parameters")
    return found


def check_defaults(of: list[PipelineInput]) -> None:
    """Check the defaults of inputs like values, since a run from Kubeflow's pages uses them.

    Args:
        of: The pipeline's inputs.

    Raises:
        SpecError: If Kubeflow would change a default.
    """
    defaults = {one.name: one.default for one in of if one.default is not REQUIRED}
    _check_values(defaults, "The default of the parameter", "The defaults of the parameters")


def _check_values(values: Mapping[str, Any], singular: str, plural: str) -> None:
    """Raise SpecError if Kubeflow would change a value; `singular`, `plural` begin the message."""
    for name, value in values.items():
        text = json.dumps(value)
        unsafe = next((unsafe for unsafe in _UNSAFE_TEXT if unsafe in text), None)
        if unsafe:
            raise SpecError(
                f"{singular} {name!r} contains {unsafe!r}, which Kubeflow would replace. "
                "Pass it another way, for example in a file."
            )
        if any(isinstance(v, float) and not math.isfinite(v) for v in _plain_list(value)):
            raise SpecError(f"{singular} {name!r} must be finite, got {value!r}.")
        if any(isinstance(v, int) and abs(v) > MAX_EXACT_INT for v in _plain_list(value)):
            raise SpecError(
                f"{singular} {name!r} is {value!r}, but Kubeflow stores numbers as floats, "
                f"which are exact up to {MAX_EXACT_INT}. Use a smaller number."
            )
    lengths = {name: len(json.dumps(value)) for name, value in values.items()}
    if sum(lengths.values()) > MAX_INPUT_CHARS:
        name = max(lengths, key=lambda name: lengths[name])
        raise SpecError(
            f"{plural} have {sum(lengths.values())} characters, {name!r} {lengths[name]} of them, "
            f"but Kubeflow allows at most {MAX_INPUT_CHARS}. Pass the name of a file instead."
        )


def pack_source(recipe: Recipe) -> str:
    """Encode a recipe's source as text that Kubeflow does not change.

    Raises:
        SpecError: If it is too long for a command line.
    """
    source = recipe.source.encode()
    text = base64.b64encode(source).decode()
    if len(text) > MAX_INPUT_CHARS:
        text = _PACKED_PREFIX + base64.b64encode(zlib.compress(source, 9)).decode()
    if len(text) > MAX_INPUT_CHARS:
        raise SpecError(
            f"{recipe.name} is too long for a pipeline: {len(text)} characters when compressed, "
            f"of at most {MAX_INPUT_CHARS}. Let the recipe read its lists from a file."
        )
    return text


def unpack_source(text: str) -> str:
    """Decode the source that `pack_source` encoded."""
    if text.startswith(_PACKED_PREFIX):
        return zlib.decompress(base64.b64decode(text.removeprefix(_PACKED_PREFIX))).decode()
    return base64.b64decode(text).decode()


def _input_of_parameter(one: Parameter) -> PipelineInput:
    kind = one.kind if one.kind in _TYPES else None
    if kind is not None and (one.default is REQUIRED or _is_valid_default(one.default, kind)):
        default = one.default
        return PipelineInput(
            one.name, kind, float(default) if kind is float and default is not REQUIRED else default
        )
    if one.default is REQUIRED:
        return PipelineInput(one.name, str, REQUIRED, as_json=True)
    default = RECIPE_DEFAULT if one.default is UNKNOWN_DEFAULT else json.dumps(one.default)
    return PipelineInput(one.name, str, default, as_json=True)


def _is_valid_default(default: Any, kind: type) -> bool:
    """Return whether Kubeflow can store a default unchanged, and kfp can write it in a comment."""
    if isinstance(default, bool) or kind is bool:
        return kind is bool and isinstance(default, bool)
    if isinstance(default, int):
        return kind in (int, float) and abs(default) <= MAX_EXACT_INT
    if isinstance(default, str):
        return kind is str and len(default.splitlines()) <= 1
    return isinstance(default, kind)


def _as_integer(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_integer(one) for one in value]
    if isinstance(value, dict):
        return {name: _as_integer(one) for name, one in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _plain_list(value: Any) -> list[Any]:
    parts = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    )
    return [value] if parts is None else [inner for one in parts for inner in _plain_list(one)]
