"""Rendering of report templates with every value escaped for its format.

Templates insert values with ``{{ value }}`` only. In HTML, jinja2's autoescape replaces
``& < > " '``. In Markdown, `escape_markdown` is the environment's ``finalize``, which jinja2 calls
for every inserted value.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

_SPECIAL = re.compile(r"([\\`*_{}\[\]#!|~@$^]|:(?=//)|(?<=www)\.)")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def render_html(template: str, **values: Any) -> str:
    """Render an HTML template with its values escaped.

    Args:
        template: The name of a file in ``templates``, such as ``page.html.j2``.
        **values: The values of the template.
    """
    return _environment(markdown=False).get_template(template).render(values)


def render_markdown(template: str, **values: Any) -> str:
    """Render a Markdown template; each value becomes one line of plain text.

    Args:
        template: The name of a file in ``templates``, such as ``report.md.j2``.
        **values: The values of the template.
    """
    return _environment(markdown=True).get_template(template).render(values)


def escape_markdown(text: str) -> str:
    """Escape text for Markdown: no markup, HTML, links, line breaks or ends of table cells."""
    plain = re.sub(
        "[&<>]", lambda found: _ENTITIES[found.group()], " ".join(text.split()) or " "[: len(text)]
    )
    return _SPECIAL.sub(r"\\\1", plain)


def _finalize_markdown(value: Any) -> Any:
    from markupsafe import Markup

    # The output of a macro is Markup, with its values already escaped.
    return value if isinstance(value, Markup) else Markup(escape_markdown(str(value)))  # noqa: S704  escaped for Markdown


def _code(value: str) -> Any:
    """Return a line of an indented code block, in which Markdown has no escapes."""
    from markupsafe import Markup

    return Markup(" ".join(value.splitlines()))  # noqa: S704  in a code block nothing is markup


def _script(value: str) -> Any:
    """Return a script of rvlab's own as it is."""
    from markupsafe import Markup

    return Markup(value)  # noqa: S704  a file of this package, without any value of a store


@cache
def _environment(*, markdown: bool) -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("rvlab.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=_finalize_markdown if markdown else None,
    )
    environment.filters["code"] = _code
    environment.filters["script"] = _script
    return environment
