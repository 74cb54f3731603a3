"""The parameters of a recipe, read from its source without running it.

The notebook may run without Raster Vision installed, so ``get_config`` is never imported. Its
signature is read from the syntax tree.
"""

from __future__ import annotations

import ast
import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Union

from rvlab.errors import SpecError, did_you_mean
from rvlab.model.run import RUN_KINDS, TRAINING
from rvlab.recipes.literals import (
    LOCATION_TYPES,
    UNKNOWN_DEFAULT,
    AnnotationAliases,
    annotation_type,
    json_value,
    literal_value,
    remove_limits,
)
from rvlab.recipes.value_limits import limits_text, require_relations, violated_limit

ROOT_PARAMETER = "root_uri"
"""Parameter that receives the output folder of a run."""

KIND_CONSTANT = "RUN_KIND"
"""Constant of a recipe whose runs do not train: the kind of its runs, such as ``"prediction"``."""

FUNCTIONS = ("get_config", "get_configs")


class _Required:
    def __repr__(self) -> str:
        return "required"


REQUIRED: Any = _Required()


@dataclass(frozen=True)
class Parameter:
    """One keyword argument of ``get_config``.

    Args:
        name: Its name.
        annotation: Its annotation as written, with aliases of the file replaced, or the empty
            string.
        default: Its default; REQUIRED if it has none, UNKNOWN_DEFAULT if it is not a JSON literal.
    """

    name: str
    annotation: str
    default: Any

    @cached_property
    def hint(self) -> Any:
        """The type to validate against, with its limits; Any if it is unknown."""
        return annotation_type(self.annotation) if self.annotation else self._default_type

    @cached_property
    def kind(self) -> Any:
        """The type without limits; Any if it is unknown."""
        return annotation_type(self.type_text) if self.annotation else self._default_type

    @cached_property
    def type_text(self) -> str:
        """The annotation without limits, such as ``int``, or the empty string."""
        try:
            tree = ast.parse(self.annotation, mode="eval")
        except (SyntaxError, ValueError):
            return self.annotation
        has_limits = any(isinstance(n, ast.Name) and n.id == "Annotated" for n in ast.walk(tree))
        return ast.unparse(remove_limits(tree)) if has_limits else self.annotation

    @property
    def limits(self) -> str:
        """The limits in words, such as ``at least 16``, or the empty string."""
        return limits_text(self.hint)

    @property
    def _default_type(self) -> Any:
        if self.default in (REQUIRED, UNKNOWN_DEFAULT, None):
            return Any
        kind = type(self.default)
        return Union[int, float] if kind in (int, float) else kind  # noqa: UP007

    def validate(self, value: Any, recipe: str) -> Any:
        """Check a value, and return it as JSON represents it.

        Raises:
            SpecError: If its type is wrong, it is outside of the limits, or JSON cannot represent
                it.
        """
        from pydantic import TypeAdapter, ValidationError

        plain = json_value(value, f"{recipe}: the parameter {self.name!r}")
        if plain is None and self.default is None:
            return None  # `lr: float = None` means that None is allowed
        adapter = TypeAdapter(self.hint)
        try:
            # As JSON, where a tuple is written as a list.
            checked = adapter.validate_json(json.dumps(plain), strict=True)
            dumped = adapter.dump_python(checked, mode="json")
        except ValidationError as exc:
            error = exc.errors()[0]
            limit = violated_limit(error)
            if limit and self.accepts_type(plain):
                text = f"{recipe}: {self.name} must be {limit}, got {value!r}."
                raise SpecError(text) from exc
            type_name = self.type_text or getattr(self.hint, "__name__", str(self.hint))
            raise SpecError(
                f"{recipe}: the parameter {self.name!r} is {type_name}, but {value!r} was given "
                f"({error['msg'].lower()})."
            ) from exc
        except TypeError as exc:
            raise SpecError(
                f"{recipe}: the limits of the parameter {self.name!r} do not fit its type: "
                f"{self.annotation}."
            ) from exc
        # `epochs=300` without a type that can be checked: 300.0 would fail in range(epochs).
        is_int = type(self.default) is int and "float" not in self.annotation.lower()
        return (
            int(dumped) if is_int and isinstance(dumped, float) and dumped.is_integer() else dumped
        )

    def accepts_type(self, plain: Any) -> bool:
        """Return whether a JSON value has the type, apart from its limits."""
        from pydantic import TypeAdapter, ValidationError

        if plain is None and self.default is None:
            return True
        try:
            TypeAdapter(self.kind).validate_json(json.dumps(plain), strict=True)
        except ValidationError:
            return False
        return True


@dataclass(frozen=True)
class Signature:
    """The parameters of ``get_config``.

    Args:
        recipe: The recipe's name, for messages.
        parameters: Name -> parameter, in the order of the source; without `runner` and the places.
        places: The names of parameters that receive locations: ``root_uri``, and those with the
            annotations `LOCATION_TYPES`.
        accepts_any: Whether ``get_config`` has ``**kwargs``.
        kind: The kind of its runs, one of `RUN_KINDS`.
    """

    recipe: str
    parameters: Mapping[str, Parameter]
    places: tuple[str, ...]
    accepts_any: bool = False
    kind: str = TRAINING

    def bind(self, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Validate the given values and fill in the defaults.

        Args:
            given: Values by name.

        Returns:
            All parameters that JSON can represent, with defaults filled in; and the places among
            `given`.

        Raises:
            SpecError: For an unknown name, a wrong type, a value outside of its limits, a missing
                value, or a value that JSON cannot represent.
        """
        for name in ("runner", ROOT_PARAMETER):
            if name in given:
                raise SpecError(f"{self.recipe}: {name!r} is filled in by rvlab. Leave it out.")
        places = {name: given[name] for name in self.places if name in given}
        known = [n for n in (*self.parameters, *self.places) if n != ROOT_PARAMETER]
        for name in given:
            if name not in known and not self.accepts_any:
                raise SpecError(
                    f"{self.recipe} has no parameter {name!r}. {did_you_mean(name, known)}"
                )
        bound: dict[str, Any] = {}
        for name, parameter in self.parameters.items():
            if name in given:
                bound[name] = parameter.validate(given[name], self.recipe)
            elif parameter.default is REQUIRED:
                raise SpecError(
                    f"{self.recipe} needs the parameter {name!r}"
                    f"{f' ({parameter.type_text})' if parameter.annotation else ''}. Give it."
                )
            elif parameter.default is not UNKNOWN_DEFAULT:
                bound[name] = parameter.default
        for name in given:
            if name not in known:
                bound[name] = json_value(given[name], f"{self.recipe}: the parameter {name!r}")
        hints = {name: one.hint for name, one in self.parameters.items()}
        require_relations(hints, bound, f"{self.recipe}: ")
        for name, value in places.items():
            if not isinstance(value, str):
                raise SpecError(f"{self.recipe}: {name!r} is a URI, but {value!r} was given.")
        return bound, places

    def from_text(self, given: Mapping[str, str]) -> dict[str, Any]:
        """Parse shell values as JSON if the parameter accepts the result, else use the text."""
        return {name: self._from_text(name, text) for name, text in given.items()}

    def _from_text(self, name: str, text: str) -> Any:
        parameter = self.parameters.get(name) or _EXTRA_PARAMETERS.get(name)
        if parameter is None or parameter.kind is str:
            return text
        try:
            value = json.loads(text.lower() if text in ("True", "False") else text)
        except ValueError:  # not JSON
            return text
        return value if parameter.accepts_type(value) else text


_EXTRA_PARAMETERS = {"seed": Parameter("seed", "int", 0)}
"""Parameters of a run besides those of its recipe."""


def signature(source: str, recipe: str) -> Signature:
    """Read the signature of ``get_config`` (or ``get_configs``) from a recipe's source.

    Raises:
        SpecError: If the source is not Python or has no such function.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError as exc:
        raise SpecError(f"{recipe} is not Python: {exc.msg} in line {exc.lineno}.") from exc
    except ValueError as exc:  # a null byte
        raise SpecError(f"{recipe} is not Python: {exc}.") from exc
    functions = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
    for node in tree.body:  # get_config = my_towns
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name):
            other = functions.get(node.value.id)
            aliases = [t.id for t in node.targets if isinstance(t, ast.Name)]
            functions |= dict.fromkeys(aliases, other) if other else {}
    name = next((n for n in reversed(FUNCTIONS) if n in functions), None)
    if name is None:
        raise SpecError(
            f"{recipe} has no get_config function. A recipe is a Python file with Raster Vision's "
            f"get_config(runner, ...); its functions are: {', '.join(functions) or 'none'}."
        )
    args = functions[name].args
    plain = [*args.posonlyargs, *args.args]
    defaults: list[ast.expr | None] = [None] * (len(plain) - len(args.defaults))
    _, *pairs = zip(plain, [*defaults, *args.defaults], strict=True) if plain else (None,)
    if len(args.posonlyargs) > 1:
        word = args.posonlyargs[1].arg
        raise SpecError(
            f"{recipe}: the parameter {word!r} is positional only, but Raster Vision gives "
            "parameters by name. Move the '/' behind the runner."
        )
    pairs += zip(args.kwonlyargs, args.kw_defaults, strict=True)
    constants, resolver = _constants(tree), AnnotationAliases(tree)
    found = {arg.arg: _parameter(arg, default, constants, resolver) for arg, default in pairs}
    places = tuple(name for name, one in found.items() if _is_place(one))
    return Signature(
        recipe,
        {name: one for name, one in found.items() if name not in places},
        places,
        accepts_any=args.kwarg is not None,
        kind=_kind_of_runs(constants, recipe),
    )


def _kind_of_runs(constants: Mapping[str, Any], recipe: str) -> str:
    kind = constants.get(KIND_CONSTANT, TRAINING)
    if kind not in RUN_KINDS:
        raise SpecError(
            f"{recipe}: {KIND_CONSTANT} must be one of {', '.join(RUN_KINDS)}, got {kind!r:.60}."
        )
    return str(kind)


def _constants(tree: ast.Module) -> dict[str, Any]:
    """Return the file's ``NAME = literal`` constants, which defaults may refer to."""
    found: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    found[target.id] = literal_value(node.value, {})
    return found


def _parameter(
    arg: ast.arg,
    default: ast.expr | None,
    constants: Mapping[str, Any],
    aliases: AnnotationAliases,
) -> Parameter:
    annotation = ast.unparse(arg.annotation) if arg.annotation else ""
    if isinstance(arg.annotation, ast.Constant) and isinstance(arg.annotation.value, str):
        annotation = arg.annotation.value
    with contextlib.suppress(SyntaxError, ValueError, RecursionError):
        tree = ast.parse(annotation, mode="eval")
        if any(isinstance(node, ast.Name) for node in ast.walk(tree)):
            changed = ast.unparse(aliases.visit(ast.parse(annotation, mode="eval")))
            annotation = annotation if changed == ast.unparse(tree) else changed
    return Parameter(
        arg.arg, annotation, REQUIRED if default is None else literal_value(default, constants)
    )


def _is_place(one: Parameter) -> bool:
    return one.name == ROOT_PARAMETER or one.annotation.rpartition(".")[2] in LOCATION_TYPES
