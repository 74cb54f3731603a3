"""The names and values of a run as MLflow's text, and back: one rule for each."""

from __future__ import annotations

import json
import math
import posixpath
import re
import sys
from collections.abc import Iterable
from typing import Any

from rvlab.errors import SpecError
from rvlab.model.annotation import MAX_TAG_CHARS, validate_tag

MAX_NAME_CHARS, MAX_PARAM_CHARS, MAX_TAG_TEXT_CHARS = 250, 6000, 5000
"""The longest names, parameters and tags that every MLflow from 2.14 on takes."""


def key_safe_name(name: str) -> str:
    """MLflow's name of an experiment as one that may stand in a key: other characters are ``-``."""
    clean = re.sub(r"[^A-Za-z0-9._-]", "-", name).lstrip("._-")[:100]
    return clean or "mlflow"


def parse_param(text: str, *, quoted: bool = False) -> Any:
    """A parameter with the type that its text shows: MLflow holds text only.

    Args:
        text: What MLflow holds.
        quoted: Whether text in double quotes is a JSON string, as `format_param` writes it.

    Returns:
        Whole numbers, floats, booleans, lists and dicts where the text is JSON (or ``True``,
        ``False``, ``None``, as Python writes them); None for ``None``; else the text. ``007``,
        ``nan`` and ``1e400`` are text: they would not come out as they went in.
    """
    python = {"True": True, "False": False, "None": None}
    if text in python:
        return python[text]
    if text != text.strip() or (text.startswith('"') and not quoted):
        return text
    try:
        value = json.loads(text, parse_float=_parse_finite, parse_constant=_parse_finite)
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError):
        return text
    return value


def _parse_finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def clean_tag(text: str) -> str | None:
    """A tag of MLflow's as one of rvlab's, on one line, cut at 100 characters; None if empty."""
    try:
        return validate_tag(" ".join(text.split())[:MAX_TAG_CHARS])
    except SpecError:
        return None


def format_param(value: Any) -> str:
    """A parameter as MLflow's text, such that `parse_param` gives it back.

    Numbers, booleans and None as Python writes them, lists and dicts as JSON, text as it is; only
    text that would be read as something else (``"0.5"``) stands in double quotes.
    """
    if isinstance(value, str):
        plain = parse_param(value, quoted=True)
        return value if plain == value and isinstance(plain, str) else json.dumps(value)
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def mlflow_names(names: Iterable[str]) -> dict[str, str]:
    """Names of metrics and parameters as MLflow takes them, by the names they have.

    Letters, digits, ``_``, ``-``, ``.``, blanks and ``/`` stay; any other character becomes ``_``
    (``:`` too: MLflow on Windows refuses it). In a name that is no plain path, such as ``a//b`` or
    ``../a``, each ``/`` and the leading dots become ``_``. Names end after 250 characters. The
    second of two that became alike ends in ``_2``.
    """
    found: dict[str, str] = {}
    for name in sorted(names):
        clean = re.sub(r"[^\w.\- /]", "_", name)[: MAX_NAME_CHARS - 5]
        if posixpath.normpath(clean) != clean or clean.startswith((".", "/")):
            clean = re.sub(r"^\.+|/", "_", clean) or "_"
        unique, number = clean, 2
        while unique in found.values():
            unique, number = f"{clean}_{number}", number + 1
        found[name] = unique
    return found


def restore_infinity(value: float) -> float:
    """MLflow's databases hold the largest float where infinity was logged."""
    return math.copysign(math.inf, value) if abs(value) >= sys.float_info.max else value
