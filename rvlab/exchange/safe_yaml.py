"""Parsing of YAML of other programs without constructing their objects."""

from __future__ import annotations

from typing import Any

from rvlab.errors import RecordBroken
from rvlab.model.limits import RECORD_NAMES, too_large

_DEPTH = 50
_CALL = "tag:yaml.org,2002:python/object/"


def parse_yaml(data: bytes, key: str) -> Any:
    """Parse YAML to dicts, lists, text, numbers and booleans.

    A value with an unknown tag, such as ``!!python/object``, is read as the plain value behind the
    tag, and a call (``!!python/object/apply``) as its text: nothing is imported or called.

    Args:
        data: The document.
        key: The key of the file, for messages.

    Raises:
        RecordBroken: If it is not YAML, has more than `RECORD_NAMES` values, or is nested too
            deeply.
    """
    import yaml

    class PlainLoader(yaml.SafeLoader):
        def flatten_mapping(self, node: Any) -> None:
            """Leave merge keys (``<<``), whose repeated expansion has no limit."""

    budget = [RECORD_NAMES]

    def plain(loader: Any, tag: str, node: Any) -> Any:
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        name = tag.rpartition(":")[2]
        if isinstance(node, yaml.SequenceNode):
            values = loader.construct_sequence(node, deep=True)
            if not tag.startswith(_CALL):
                return values
            _to_plain(values, key, budget)  # raises if aliases expand to too many values
            # A pickled tensor has other bytes each time, so bytes cannot be part of a parameter.
            return _Opaque(name) if _has_bytes(values) else f"{name}({', '.join(map(str, values))})"
        # A tag such as !!python/name:torch.nn.ReLU has the value.
        return loader.construct_scalar(node) or name

    PlainLoader.add_multi_constructor("", plain)
    try:
        found = yaml.load(data, PlainLoader)  # noqa: S506  a subclass of SafeLoader
        return _to_plain(found, key, [RECORD_NAMES])
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, AttributeError) as exc:
        if isinstance(exc, RecordBroken):
            raise
        text = " ".join(str(exc).split())
        raise RecordBroken(f"{key} is not valid YAML: {text:.200}.") from exc


def _has_bytes(value: Any) -> bool:
    """Return whether a value has bytes; the name of a call has them if its arguments do."""
    if isinstance(value, dict):
        return any(map(_has_bytes, value.values()))
    if isinstance(value, list):
        return any(map(_has_bytes, value))
    return isinstance(value, bytes | _Opaque)


class _Opaque(str):
    """The name of a call with bytes in its arguments."""


def _to_plain(value: Any, key: str, left: list[int], depth: int = 0) -> Any:
    """Copy a value, so that aliases, which can repeat without end, count with their size."""
    left[0] -= 1
    if left[0] < 0 or depth > _DEPTH:
        too_large(key, RECORD_NAMES + 1, RECORD_NAMES, "values")
    if isinstance(value, dict):
        return {str(k): _to_plain(v, key, left, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [_to_plain(v, key, left, depth + 1) for v in value]
    if value is None or type(value) in (bool, int, float, str):
        return value
    return str(value)  # dates, bytes
