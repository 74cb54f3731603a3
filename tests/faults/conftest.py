"""The figures of `docs/reliability.md`, measured by tests, printed at the end of a session."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

FIGURE = "figure of docs/reliability.md"


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str, object], None]:
    """Record one figure, such as ``figure("random kills", 250)``, for the summary."""

    def record(name: str, value: object) -> None:
        # Store it as a property of the test, which xdist sends to the process that prints it.
        request.node.user_properties.append((FIGURE, (name, str(value))))

    return record


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures below the results."""
    stats: dict[str, list[object]] = terminalreporter.stats
    reports = [report for each in stats.values() for report in each]
    properties: list[Any] = [
        each
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "teardown"
        for each in report.user_properties
    ]
    figures = [value for name, value in properties if name == FIGURE]
    if figures:
        terminalreporter.section("figures of docs/reliability.md")
        width = max(len(name) for name, _ in figures)
        for name, value in figures:
            terminalreporter.line(f"{name:<{width}}  {value}")
