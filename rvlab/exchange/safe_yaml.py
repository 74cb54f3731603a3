"""Parsing of YAML of other programs without constructing their objects."""

from __future__ import annotations

from typing import Any

from rvlab.errors import MissingExtra, RecordBroken
from rvlab.model.limits import RECORD_NAMES, too_large

_DEPTH = 50


def parse_yaml(data: bytes, key: str) -> Any:
    """Parse YAML to dicts, lists, text, numbers and booleans.

    A value with an unknown tag, such as ``!!python/object``, is read as the plain value behind the
    tag: nothing is imported or called.

    Args:
        data: The document.
        key: The key of the file, for messages.

    Raises:
        RecordBroken: If it is not YAML, or has more than `RECORD_NAMES` values.
        MissingExtra: If PyYAML is not installed.
    """
    try:
        import yaml
    except ImportError as exc:
        raise MissingExtra(f"Reading {key} needs PyYAML: pip install pyyaml.") from exc

    class PlainLoader(yaml.SafeLoader):
        def flatten_mapping(self, node: Any) -> None:
            """Leave merge keys (``<<``), whose repeated expansion has no limit."""

    def plain(loader: Any, tag: str, node: Any) -> Any:
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        # A tag such as !!python/name:torch.nn.ReLU has the value.
        return loader.construct_scalar(node) or tag.rpartition(":")[2]

    PlainLoader.add_multi_constructor("", plain)
    try:
        found = yaml.load(data, PlainLoader)  # noqa: S506  a subclass of SafeLoader
        return _to_plain(found, key, [RECORD_NAMES])
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, AttributeError) as exc:
        if isinstance(exc, RecordBroken):
            raise
        text = " ".join(str(exc).split())
        raise RecordBroken(f"{key} is not valid YAML: {text:.200}.") from exc


def _to_plain(value: Any, key: str, left: list[int], depth: int = 0) -> Any:
    """Copy a value, so that aliases, which can repeat without end, count with their size."""
    left[0] -= 1
    if left[0] < 0 or depth > _DEPTH:
        too_large(key, RECORD_NAMES + 1, RECORD_NAMES, "values")
    if isinstance(value, dict):
        return {str(k): _to_plain(v, key, left, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [_to_plain(v, key, left, depth + 1) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)  # dates, bytes
