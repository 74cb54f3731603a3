"""Tab completion of the arguments of `rvlab.Lab` in IPython and JupyterLab.

IPython asks each of its matchers; the one of rvlab is added when the first `Lab` is opened. It
reads names from the store with a time limit, and returns nothing in place of an error.
"""

from __future__ import annotations

import ast
import inspect
import logging
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rvlab.actions.call_at_cursor import ArgumentAtCursor, argument_at_cursor, argument_source
from rvlab.actions.quick_reads import quick_listings, quick_result
from rvlab.clone import load_recorded
from rvlab.errors import RvlabError
from rvlab.frame import runs_table
from rvlab.frame.run_selector import require_one
from rvlab.model import STATES, STEPS, Run, Sweep
from rvlab.recipes import find_recipe, shipped_recipes
from rvlab.recipes.signature import Signature
from rvlab.store.model_versions import list_models

if TYPE_CHECKING:
    from rvlab.lab import Lab

MATCHER = "rvlab"
"""The name of the matcher in IPython."""

MAX_RUN_IDS = 200
"""Most run ids that are offered, the newest first."""

POINT_FUNCTIONS = ("grid", "random")
"""Functions whose arguments are parameters of the recipe, in a call of `Lab.sweep`."""

RUN_ARGUMENTS = ("run", "runs")

_WITH_RECIPE = ("submit", "sweep", "tune", "clone")

_WITH_MODELS = ("model", "predict")
"""Methods that accept the name of a promoted model in place of a run."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Completions:
    """What can be inserted at the cursor.

    Args:
        words: The texts, in the order in which they are offered.
        kind: Such as ``run``, shown beside them.
        fragment: The text before the cursor that they replace.
        is_complete: Whether nothing else makes sense here, such as the names of files.
    """

    words: list[str]
    kind: str
    fragment: str
    is_complete: bool = False


def find_completions(code: str, namespace: Mapping[str, Any]) -> list[Completions]:
    """Return what can be inserted at the end of code.

    Args:
        code: The code before the cursor.
        namespace: The variables of the notebook.
    """
    argument = argument_at_cursor(code)
    if argument is None:
        return []
    lab, method = _lab_method(argument.function, namespace)
    if lab is None:
        lab, outer = _lab_method(argument.outer or "", namespace)
        is_point = argument.function.rpartition(".")[2] in POINT_FUNCTIONS and outer == "sweep"
        if lab is None or not is_point or argument.in_string:
            return []
        found = _recipe_signature(lab, outer, argument.outer_arguments, namespace)
        return _complete_parameters(argument, found)
    parameter = argument.keyword or _positional_name(lab, method, argument.position)
    offers: list[Completions] = []
    has_recipe = method in _WITH_RECIPE
    signature = (
        _recipe_signature(lab, method, argument.arguments, namespace) if has_recipe else None
    )
    words, kind = _words(lab, method, parameter, argument.fragment, signature)
    if words and argument.in_string:
        is_complete = kind != "recipe"
        offers.append(
            Completions(_matching(words, argument.fragment), kind, argument.fragment, is_complete)
        )
    elif words and argument.is_empty and not argument.fragment:
        variables = _fitting_variables(parameter, namespace)
        offers.append(Completions([*variables, *map(repr, words)], kind, "", is_complete=True))
    if signature is not None and not argument.in_string:
        offers += _complete_parameters(argument, signature)
    return [one for one in offers if one.words]


def _fitting_variables(parameter: str | None, namespace: Mapping[str, Any]) -> list[str]:
    """Return the variables of a notebook whose value an argument accepts."""
    public = {name: value for name, value in namespace.items() if not name.startswith("_")}
    if parameter == "recipe":
        return [name for name, value in public.items() if inspect.isfunction(value)]
    if parameter not in RUN_ARGUMENTS:
        return []
    return [
        name
        for name, value in public.items()
        if isinstance(value, Run | Sweep)
        or (type(value).__name__ == "DataFrame" and "uri" in value.columns)
    ]


def _lab_method(function: str, namespace: Mapping[str, Any]) -> tuple[Lab | None, str]:
    """Return the lab and the method of ``lab.submit``, if the variable is a lab."""
    name, _, method = function.rpartition(".")
    found = namespace.get(name)
    kind = type(found)
    is_lab = (kind.__module__, kind.__name__) == ("rvlab.lab", "Lab")
    is_method = inspect.isfunction(vars(kind).get(method))
    return (found, method) if is_lab and is_method else (None, "")


def _positional_name(lab: Lab, method: str, position: int) -> str | None:
    parameters = list(inspect.signature(getattr(type(lab), method)).parameters.values())[1:]
    allowed = [
        one.name
        for one in parameters
        if one.kind in (one.POSITIONAL_OR_KEYWORD, one.VAR_POSITIONAL)
    ]
    return allowed[position] if position < len(allowed) else None


def _words(
    lab: Lab, method: str, parameter: str | None, fragment: str, signature: Signature | None
) -> tuple[list[str], str]:
    """Return the values that an argument can have, and what they are."""
    if parameter is None or (method == "tune" and parameter == "metric"):
        return [], ""
    if signature is not None and parameter in signature.parameters:
        return _choices(signature.parameters[parameter].annotation), "value"
    if (method, parameter) == ("run", "name"):
        return _run_names(lab, fragment), "run"
    if method in _WITH_MODELS and parameter in RUN_ARGUMENTS:
        return [*_models(lab), *_names_of_runs(lab, fragment)], "model or run"
    sources: dict[str, tuple[Callable[[], list[str]], str]] = {
        "model": (lambda: _models(lab), "model"),
        **dict.fromkeys(RUN_ARGUMENTS, (lambda: _names_of_runs(lab, fragment), "run")),
        "experiment": (lambda: _experiments(lab), "experiment"),
        "recipe": (shipped_recipes, "recipe"),
        "state": (lambda: list(STATES), "state"),
        "step": (lambda: list(STEPS), "step"),
        "metric": (lambda: _values_of_runs(lab, "metrics."), "metric"),
        "tags": (lambda: _values_of_runs(lab, ""), "tag"),
    }
    source, kind = sources.get(parameter, (list, ""))
    return source(), kind


def _names_of_runs(lab: Lab, fragment: str) -> list[str]:
    """Return the experiments and the run ids."""
    return [*_experiments(lab), *_run_names(lab, fragment)]


def _run_names(lab: Lab, fragment: str) -> list[str]:
    """Return run ids, the newest first; after a slash those of one experiment."""
    listings = quick_listings(lab.store) or []
    within, slash, _ = fragment.rpartition("/")
    if slash:
        ids = [f"{within}/{id_}" for one in listings if one.experiment == within for id_ in one.ids]
    else:
        ids = [id_ for one in listings for id_ in one.ids]
    return sorted(_matching(ids, fragment), reverse=True)[:MAX_RUN_IDS]


def _experiments(lab: Lab) -> list[str]:
    return [one.experiment for one in quick_listings(lab.store) or []]


def _models(lab: Lab) -> list[str]:
    """Return the names of the promoted models."""

    def read() -> list[str]:
        return [one.model for one in list_models(lab.store)]

    return quick_result(lab.store, "models", read) or []


def _values_of_runs(lab: Lab, prefix: str) -> list[str]:
    """Return the metrics, or the tags, of the runs of a store."""

    def read() -> list[str]:
        table = runs_table(lab.store, None)
        if prefix:
            return [str(name) for name in table if str(name).startswith(prefix)]
        cells = table["tags"].dropna().astype(str)
        return sorted({tag for cell in cells for tag in cell.split(", ")})

    return quick_result(lab.store, ("values", prefix), read) or []


def _choices(annotation: str) -> list[str]:
    """Return the texts of ``Literal["a", "b"]``."""
    found = re.fullmatch(r"(?:\w+\.)?Literal\[(.*)\]", annotation)
    values = ast.literal_eval(f"({found[1]},)") if found else ()
    return [value for value in values if isinstance(value, str)]


def _recipe_signature(
    lab: Lab, method: str, arguments: tuple[str, ...], namespace: Mapping[str, Any]
) -> Signature | None:
    """Return the parameters of the recipe that a call names, or whose run it clones."""
    source = argument_source(arguments, 0, "run" if method == "clone" else "recipe")
    value = _value(source or "", namespace)
    if value is None:
        return None
    if method != "clone":
        if not (isinstance(value, str | Path) or callable(value)):
            return None
        try:
            return find_recipe(value).signature
        except RvlabError:
            return None

    def read() -> Signature:
        return load_recorded(lab.store, require_one(lab.store, value, "clone"))[1].signature

    return quick_result(lab.store, ("recipe", source), read)


def _value(source: str, namespace: Mapping[str, Any]) -> Any:
    """Return the value of a literal or of a variable, without running code."""
    if source.isidentifier():
        return namespace.get(source)
    try:
        return ast.literal_eval(source)
    except (ValueError, SyntaxError):
        return None


def _complete_parameters(
    argument: ArgumentAtCursor, signature: Signature | None
) -> list[Completions]:
    """Return the parameters of a recipe that are not given yet, as ``lr=``."""
    if signature is None or argument.keyword or not argument.is_empty:
        return []
    names = [name for name in signature.parameters if name not in argument.names]
    words = [f"{name}=" for name in names if name.startswith(argument.fragment)]
    return [Completions(words, "param", argument.fragment)] if words else []


def _matching(words: Iterable[str], fragment: str) -> list[str]:
    """Return the words that start with a fragment, then those that contain it, as an id's end."""
    listed = list(words)
    first = [word for word in listed if word.startswith(fragment)]
    return first + [word for word in listed if fragment in word and not word.startswith(fragment)]


def install_completion() -> None:
    """Add the matcher to the running IPython, once; elsewhere nothing happens."""
    shell: Any = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    completer = getattr(shell, "Completer", None)
    matchers = getattr(completer, "custom_matchers", None)
    if matchers is None or any(getattr(m, "matcher_identifier", "") == MATCHER for m in matchers):
        return
    try:
        from IPython.core.completer import SimpleCompletion, context_matcher
    except ImportError:  # IPython before 8.6
        return

    def match_names(context: Any) -> Any:
        try:
            lines = context.full_text.split("\n")[: context.cursor_line]
            code = "\n".join([*lines, context.text_until_cursor])
            offers = find_completions(code, shell.user_ns)
        except Exception:  # noqa: BLE001  a failed completion must not disturb typing
            _log.debug("The completion has failed.", exc_info=True)
            offers = []
        found = [SimpleCompletion(word, type=one.kind) for one in offers for word in one.words]
        return {
            "completions": found,
            "matched_fragment": offers[0].fragment if offers else "",
            "ordered": True,
            "suppress": bool(offers) and all(one.is_complete for one in offers),
        }

    matchers.append(context_matcher(identifier=MATCHER)(match_names))
