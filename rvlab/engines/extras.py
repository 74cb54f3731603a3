"""Check that the packages of an extra are installed, before anything is started that needs them."""

from __future__ import annotations

from importlib.util import find_spec

from rvlab.errors import MissingExtra

EXTRAS = {
    "train": ("rastervision.pipeline", "rastervision.pytorch_backend", "torch", "boto3"),
    "kubeflow": ("kfp", "kfp.kubernetes"),
    "predict": ("pystac",),
}
"""Extra -> the modules that an engine or an argument needs from it."""


def require_extra(extra: str, purpose: str) -> None:
    """Raise if a module of an extra is not installed; nothing is imported.

    Args:
        extra: A key of `EXTRAS`.
        purpose: What needs the extra, as the beginning of a sentence.

    Raises:
        MissingExtra: With the command that installs the extra.
    """
    missing = next((name for name in EXTRAS[extra] if not _is_installed(name)), None)
    if missing:
        raise MissingExtra(
            f"{purpose} needs {missing}, which is not installed: pip install 'rvlab[{extra}]'."
        )


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ImportError:  # its parent is missing
        return False
