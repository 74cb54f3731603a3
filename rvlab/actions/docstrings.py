"""Docstrings of `rvlab.Lab`: what several methods share is written here once and added to each."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from textwrap import wrap
from typing import TypeVar

from rvlab.model.schema import TableSchema

_T = TypeVar("_T", bound=type)


ARGUMENTS = {
    "runs": "Which runs: a table of runs or one of its rows, a run, an id, the unique end of "
    "an id (``c3e777``), a URI, the name of an experiment, or a list of these.",
    "run": "One run: a row of a table of runs, a table with one row, a run, an id, the unique end "
    "of an id, ``experiment/id`` or a URI.",
    "recipe": "The name of an included recipe, a path, a module or a ``get_config`` function.",
    "experiment": "The experiment of the runs.",
    "splits": "Number of parallel pieces of chip and predict; at most one per scene.",
    "seed": "Runs with the same seed and parameters give the same weights on a CPU. Default: the "
    "seed of the cloned run, else the default of the recipe's parameter ``seed``, else 0.",
    "priority": "An integer from -1000 to 1000. Of the runs that wait on this machine, those with "
    "the highest priority start first; of equal priorities, the oldest. Not for Kubeflow.",
    "params": "Parameters of the recipe whose names are arguments of this method.",
    "named": "Parameters of the recipe.",
    "ascending": "Whether less is better. None means yes for an error or a loss, else no.",
    "tracking_uri": "MLflow's server or database, such as ``sqlite:///mlflow.db``. Default: "
    "``$MLFLOW_TRACKING_URI``.",
}
"""Descriptions of arguments that several methods have."""

ALL_RUNS = "Default: all runs of the store."

_OF_RUNS = {
    "NotFound": "If a run or an experiment does not exist.",
    "SpecError": "If several ids end with the same text.",
    "StoreUnreachable": "If the store does not answer.",
}
ERRORS = {
    "run": _OF_RUNS,
    "runs": _OF_RUNS,
    "splits": {
        "SpecError": "If the recipe, a name, a type or a value is invalid; nothing was started.",
        "StoreError": "If the store cannot be written.",
    },
    "tracking_uri": {
        "MissingExtra": "If MLflow is not installed.",
        "StoreUnreachable": "If MLflow or the store does not answer.",
        "StoreError": "If MLflow or the store refuses.",
    },
}
"""Errors of methods that have an argument, unless their docstrings describe them."""

_SECTIONS = ("Args", "Returns", "Raises", "Warns")
_ENTRY = re.compile(r"    \*{0,2}(\w+):")
_WIDTH = 88


def complete_docstrings(tables: Mapping[str, TableSchema]) -> Callable[[_T], _T]:
    """Return a decorator that completes the docstrings of the public methods of a class.

    It adds shared arguments and errors, and the columns of tables with their dtypes, units and
    meanings.

    Args:
        tables: The schema of the table that a method returns, by the name of the method.
    """
    return partial(_complete, tables=tables)


def _complete(cls: _T, tables: Mapping[str, TableSchema]) -> _T:
    for name, method in vars(cls).items():
        if inspect.isfunction(method) and not name.startswith("_") and method.__doc__:
            method.__doc__ = _completed_text(method, tables.get(name))
    return cls


def _completed_text(method: Callable[..., object], table: TableSchema | None) -> str:
    sections = _split(inspect.cleandoc(method.__doc__ or ""))
    parameters = inspect.signature(method).parameters
    described = _entries(sections.get("Args", []))
    arguments: list[str] = []
    for name, parameter in parameters.items():
        if name in described:
            arguments += described[name]
        elif name in ARGUMENTS:
            text = ARGUMENTS[name]
            if name == "runs" and parameter.default is None:
                text = f"{text} {ALL_RUNS}"
            arguments += _entry(str(parameter).partition(":")[0].partition("=")[0], text)
    errors = [line for entry in _entries(sections.get("Raises", [])).values() for line in entry]
    shared = [one for argument in reversed(parameters) for one in ERRORS.get(argument, {}).items()]
    for name, text in shared:
        errors += _entry(name, text) if name not in _entries(errors) else []
    returned = sections.get("Returns", [])
    for one in (*table.columns, *table.others) if table else ():
        kind = f"{one.dtype}, {one.unit}" if one.unit else str(one.dtype)
        returned = [*returned, *_entry(f"{one.name} ({kind})", one.meaning.replace("`", "``"))]
    whole = {"Args": arguments, "Returns": returned, "Raises": errors}
    parts = ["\n".join(sections[""])]
    for name in _SECTIONS:
        if lines := whole.get(name, sections.get(name, [])):
            parts.append("\n".join([f"{name}:", *lines]))
    return "\n\n".join(parts)


def _split(text: str) -> dict[str, list[str]]:
    """Return the lines of each section of a Google-style docstring; the first is ``""``."""
    sections: dict[str, list[str]] = {"": []}
    current = sections[""]
    for line in text.splitlines():
        if line.rstrip(":") in _SECTIONS and line.endswith(":"):
            current = sections[line.rstrip(":")] = []
        else:
            current.append(line)
    return {name: _stripped(lines) for name, lines in sections.items()}


def _stripped(lines: list[str]) -> list[str]:
    return "\n".join(lines).rstrip().splitlines()


def _entries(lines: list[str]) -> dict[str, list[str]]:
    """Return the lines that describe each name of a section."""
    found: dict[str, list[str]] = {}
    name = ""
    for line in lines:
        if match := _ENTRY.match(line):
            name = match[1]
        found.setdefault(name, []).append(line)
    return found


def _entry(name: str, text: str) -> Iterator[str]:
    lines = wrap(f"{name}: {text}", _WIDTH)
    yield f"    {lines[0]}"
    yield from (f"        {line}" for line in lines[1:])
