"""Rendering of displays from templates in which every value is escaped."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


def render_display(template: str, **values: Any) -> str:
    """Render a display with its style, as one HTML element.

    Args:
        template: The name of a file in ``templates``, such as ``log.html.j2``.
        **values: The values of the template.
    """
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("rvlab.display"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
