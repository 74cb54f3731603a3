"""Formats of values that Kubernetes checks only when it creates a pod."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

MIN_MEMORY_BYTES = 16 * 2**20
"""Smallest valid amount of memory. Kubernetes accepts less, but probably the unit is missing."""

_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_UNITS |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)(k|M|G|T|Ki|Mi|Gi|Ti)?")
_WORD = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_DOMAIN = r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?"
_PATH = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"


def size_in_bytes(text: str) -> float:
    """Return the number of bytes of an amount of memory such as ``16Gi``.

    Raises:
        ValueError: If it is not an amount of memory.
    """
    match = _SIZE.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not an amount of memory, such as '512Mi' or '16Gi'")
    return float(match[1]) * _UNITS[match[2] or ""]


def _require_memory(text: str) -> str:
    size = size_in_bytes(text)
    if size < MIN_MEMORY_BYTES:
        advice = f"Write '{text}Gi'?" if text.isdigit() else "Write more, such as '16Gi'."
        raise ValueError(f"{text!r} is {size:g} bytes, too few for a step. {advice}")
    return text


def _require_cpu(text: str) -> str:
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)?m?", text) or not float(text.rstrip("m")):
        raise ValueError(f"{text!r} is not a number of processors, such as '4' or '500m'")
    return text


def _format(pattern: str, what: str, max_chars: int = 253) -> AfterValidator:
    """Return a validator of a text format; `what` describes the format in the message."""
    compiled = re.compile(pattern)

    def require(text: str) -> str:
        if len(text) > max_chars or not compiled.fullmatch(text):
            raise ValueError(f"{text!r} is not {what}")
        return text

    return AfterValidator(require)


CpuQuantity = Annotated[str, AfterValidator(_require_cpu)]
"""A number of processors, such as ``4`` or ``500m``."""

MemoryQuantity = Annotated[str, AfterValidator(_require_memory)]
"""An amount of memory, such as ``16Gi``."""

ImageName = Annotated[
    str,
    _format(
        rf"(?:[A-Za-z0-9.-]+(?::[0-9]+)?/)?{_PATH}(?:/{_PATH})*"
        r"(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(?:@[a-z0-9]+:[0-9a-f]{32,})?",
        "the name of an image, such as 'registry.example/rvlab-worker:0.1.0'",
        max_chars=512,
    ),
]
"""A container image: registry, lower-case name, tag or digest."""

ObjectName = Annotated[
    str, _format(_DOMAIN, "a name in Kubernetes: lower-case letters, digits, '-' and '.'")
]
"""The name of a secret or a service account."""

NamespaceName = Annotated[
    str,
    _format(
        r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?",
        "a namespace of Kubernetes: at most 63 lower-case letters, digits and '-'",
        max_chars=63,
    ),
]
"""The name of a namespace."""

SecretKey = Annotated[
    str, _format(r"[A-Za-z0-9._-]+", "a key of a secret: letters, digits, '-', '_' and '.'")
]
"""A key of a Kubernetes secret."""

VariableName = Annotated[
    str,
    _format(r"[A-Za-z_][A-Za-z0-9_]*", "the name of a variable: letters, digits and '_'"),
]
"""The name of an environment variable."""

ResourceName = Annotated[
    str, _format(rf"{_DOMAIN}/{_WORD}", "the name of a resource, such as 'nvidia.com/gpu'")
]
"""The name of a resource that a node offers."""

LabelKey = Annotated[
    str,
    _format(
        rf"(?:{_DOMAIN}/)?{_WORD}",
        "a label of Kubernetes, such as 'pool' or 'nvidia.com/gpu.product'",
        max_chars=317,
    ),
]
"""The key of a label or a taint."""

LabelValue = Annotated[
    str,
    _format(
        rf"(?:{_WORD})?",
        "the value of a label: at most 63 letters, digits, '-', '_' and '.'",
        max_chars=63,
    ),
]
"""The value of a label or a taint."""
