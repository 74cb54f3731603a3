"""Interactive viewer of scenes: a JupyterLab widget that receives its pixels from the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from rvlab.viewer._viewer import viewer

__all__ = ["viewer"]

__getattr__, __dir__, _ = lazy_loader.attach(__name__, submod_attrs={"_viewer": ["viewer"]})
