"""A run in Markdown, for viewers that show text and tables and no raw HTML."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rvlab.report.facts import PER_CLASS, Facts, Pairs, count, number

_SPECIAL = re.compile(r"([\\`*_{}\[\]#!|~@$^]|:(?=//)|(?<=www)\.)")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
HEADS = ("class", "precision", "recall", "F1", "IoU", "support")


def markdown(facts: Facts) -> str:
    """What the run was, how good it is, what it took, and where its records lie.

    Every word that comes from the run is escaped, so that it stays one line of plain text.
    """
    parts = [f"# {escaped(facts.name)}", _table(("", ""), facts.about)]
    if facts.error:
        parts.append(f"**Error:** {escaped(facts.error)}")
    parts += ["## Parameters", _table(("parameter", "value"), facts.params)]
    parts += ["## Metrics", *_metrics(facts)]
    parts += ["## Costs", _table(("", ""), facts.spent)]
    parts += ["## Records", escaped(facts.run.uri), "In a notebook:"]
    # Indented, not fenced: no word within can end it.
    parts.append("\n".join(f"    {line}" for line in facts.lines))
    return "\n\n".join(part for part in parts if part) + "\n"


def escaped(words: str) -> str:
    """Text that Markdown shows as it is, on one line: no markup, HTML or link, no end of a cell."""
    plain = re.sub("[&<>]", lambda found: _ENTITIES[found.group()], " ".join(words.split()))
    return _SPECIAL.sub(r"\\\1", plain)


def _metrics(facts: Facts) -> list[str]:
    if facts.group is None:
        return ["This run was not evaluated."]
    overall = [(name, number(value)) for name, value in facts.metrics.items()]
    overall = [(name, value) for name, value in overall if "." not in name]
    rows = []
    for name in facts.classes:
        of = facts.of_class(name)
        rows.append((name, *(number(of[m]) for m in PER_CLASS[:-1]), count(of["truth_count"])))
    out = [_table((f"over the classes of {facts.group}", ""), overall), _table(HEADS, rows)]
    if facts.missed_as_null:
        out.append(
            f"{count(facts.missed_as_null)} labelled pixels were predicted as `null`: they are "
            "misses, and in no column of the matrix in Kubeflow's own page."
        )
    out += ["Scored on:", _table(("group", "scenes"), facts.scored_on)]
    return out


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]] | Pairs) -> str:
    if not rows:
        return "None."
    lines = [_line([escaped(h) or " " for h in heads])]
    lines.append(_line(["---"] + ["---:" if len(heads) > 2 else "---"] * (len(heads) - 1)))
    lines += [_line([escaped(cell) or " " for cell in row]) for row in rows]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
