"""The figures of `docs/reliability.md`, measured by the tests and printed at the end of a session."""

from __future__ import annotations

from collections.abc import Callable

import pytest

FIGURES: pytest.StashKey[list[tuple[str, str]]] = pytest.StashKey()


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str, object], None]:
    """Record one figure, such as ``figure("random kills", 250)``, for the summary."""
    figures = request.config.stash.setdefault(FIGURES, [])

    def record(name: str, value: object) -> None:
        figures.append((name, str(value)))

    return record


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures below the results."""
    figures = terminalreporter.config.stash.get(FIGURES, [])
    if figures:
        terminalreporter.section("figures of docs/reliability.md")
        width = max(len(name) for name, _ in figures)
        for name, value in figures:
            terminalreporter.line(f"{name:<{width}}  {value}")
