"""Scenes of runs to move about in: a widget for JupyterLab whose pixels come from the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rvlab.viewer._viewer import viewer

__all__ = ["viewer"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rvlab.viewer._viewer import viewer

    globals()[name] = viewer
    return viewer


def __dir__() -> list[str]:
    return sorted(__all__)
