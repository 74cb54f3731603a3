"""Conversion of a run's names and values to MLflow's text and back."""

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
"""The longest names, parameters and tags that every MLflow from 2.14 on accepts."""


def key_safe_name(name: str) -> str:
    """Convert an MLflow experiment name to a valid key; other characters become ``-``."""
    clean = re.sub(r"[^A-Za-z0-9._-]", "-", name).lstrip("._-")[:100]
    return clean or "mlflow"


def parse_param(text: str, *, quoted: bool = False) -> Any:
    """Parse a parameter from its text, since MLflow stores parameters as text only.

    Args:
        text: The text that MLflow stores.
        quoted: Whether text in double quotes is a JSON string, as `format_param` writes it.

    Returns:
        Integers, floats, booleans, lists and dicts if the text is JSON (or ``True``, ``False``,
        ``None``, as Python writes them); None for ``None``; else the text. ``007``, ``nan`` and
        ``1e400`` remain text, since they would not survive a round trip.
    """
    python = {"True": True, "False": False, "None": None}
    if text in python:
        return python[text]
    if text != text.strip() or (text.startswith('"') and not quoted):
        return text
    try:
        value = json.loads(text, parse_float=_parse_finite, parse_constant=_parse_finite)
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is not valid text
    except (ValueError, RecursionError):
        return text
    return value


def _parse_finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def clean_tag(text: str) -> str | None:
    """Convert an MLflow tag to a tag of one line and at most 100 characters; None if empty."""
    try:
        return validate_tag(" ".join(text.split())[:MAX_TAG_CHARS])
    except SpecError:
        return None


def format_param(value: Any) -> str:
    """Format a parameter as text for MLflow, such that `parse_param` returns the same value.

    Numbers, booleans and None are written as in Python, lists and dicts as JSON, text unchanged.
    Only text that would be parsed as another type (``"0.5"``) is put in double quotes.
    """
    if isinstance(value, str):
        plain = parse_param(value, quoted=True)
        return value if plain == value and isinstance(plain, str) else json.dumps(value)
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def mlflow_names(names: Iterable[str]) -> dict[str, str]:
    """Map names of metrics and parameters to names that MLflow accepts.

    Letters, digits, ``_``, ``-``, ``.``, blanks and ``/`` are unchanged; any other character
    becomes ``_`` (also ``:``, which MLflow on Windows refuses). In a name that is not a normalized
    path, such as ``a//b`` or ``../a``, each ``/`` and the leading dots become ``_``. Names are
    truncated to 245 characters, which leaves room for a suffix: the second of two equal results
    gets ``_2``.
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
    """Return infinity for the largest float, which MLflow's databases store in its place."""
    return math.copysign(math.inf, value) if abs(value) >= sys.float_info.max else value
