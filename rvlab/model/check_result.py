"""The result of one check before the first run."""

from __future__ import annotations

from dataclasses import dataclass

CHECK_STATES = ("ok", "failed", "not checked", "not needed")


@dataclass(frozen=True)
class CheckResult:
    """The result of one check of a store or an engine.

    Args:
        subject: What was checked, such as ``store`` or ``Kubeflow``.
        check: Such as ``put`` or ``permission``.
        state: One of `CHECK_STATES`.
        detail: What was found, on one line.
        remedy: What to do if the check failed or could not be made, or if you want what is not
            needed now.
    """

    subject: str
    check: str
    state: str
    detail: str = ""
    remedy: str = ""
