"""Why a run failed or waits, from the Argo workflow and the task details that Kubeflow stores."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rvlab.model import STEPS

if TYPE_CHECKING:
    import kfp_server_api as api

MAX_MESSAGE_CHARS = 500

FAILED_PHASES = ("Failed", "Error")

_ATTEMPT = re.compile(r"^(?P<name>.*)\((?P<number>\d+)\)$")
_CONTAINER = re.compile(r"^(main|wait|init|supervisor): ")
_REASON = re.compile(r"^(?P<word>[A-Z][A-Za-z]+)(?=$|: | \()")


@dataclass(frozen=True)
class WorkflowReport:
    """The failure or the wait of a run, according to its workflow.

    Args:
        step: The step whose pod failed or waits.
        reason: Such as ``OOMKilled in train (exit code 137)``.
        is_terminated: Whether the run was terminated by a user.
    """

    step: str | None = None
    reason: str | None = None
    is_terminated: bool = False


def report_failure(workflow: Mapping[str, Any]) -> WorkflowReport:
    """Report the first failure of a workflow that has ended.

    Kubeflow terminates a run by a deadline of 0 seconds, which remains in the workflow until the
    run is retried. Kubeflow's history of states shows a termination only if it was reported before
    the run ended.
    """
    is_terminated = _dict(workflow.get("spec")).get("activeDeadlineSeconds") == 0
    failed = [node for node in _last_attempts(workflow) if node.get("phase") in FAILED_PHASES]
    pods = [node for node in failed if node.get("type") == "Pod"] or failed
    pods.sort(key=lambda node: str(node.get("finishedAt") or "9"))
    first = next((node for node in pods if node.get("message")), pods[0] if pods else {})
    step, message = _step_of(first), str(first.get("message") or "")
    message = message or str(_dict(workflow.get("status")).get("message") or "")
    return WorkflowReport(step, _reason(step, message), is_terminated)


def report_waiting(workflow: Mapping[str, Any]) -> WorkflowReport:
    """Report why a pod of a workflow has not started, such as a missing image."""
    pods = [
        node
        for node in _last_attempts(workflow)
        if node.get("phase") == "Pending" and node.get("type") == "Pod" and node.get("message")
    ]
    latest = max(pods, key=lambda node: str(node.get("startedAt") or ""), default={})
    step = _step_of(latest)
    return WorkflowReport(step, _reason(step, str(latest.get("message") or "")))


def report_from_tasks(run: api.V2beta1Run) -> WorkflowReport:
    """Report the step that failed, without a reason: task details have no messages."""
    tasks = (run.run_details.task_details if run.run_details else None) or ()
    failed_steps = [
        (str(task.end_time), step)
        for task in tasks
        if task.state == "FAILED" and (step := _step_named(str(task.display_name)))
    ]
    return WorkflowReport(min(failed_steps)[1] if failed_steps else None)


def _last_attempts(workflow: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the nodes of a workflow, of repeated nodes only the last attempt."""
    nodes = [_dict(node) for node in _dict(_dict(workflow.get("status")).get("nodes")).values()]
    last: dict[str, int] = {}
    for name, number in map(_attempt_of, nodes):
        last[name] = max(number, last.get(name, 0))
    return [node for node in nodes if last[_attempt_of(node)[0]] == _attempt_of(node)[1]]


def _attempt_of(node: Mapping[str, Any]) -> tuple[str, int]:
    """Return the name of a node without the number of its attempt, and the number."""
    name = str(node.get("name") or node.get("id"))
    match = _ATTEMPT.match(name)
    return (match["name"], int(match["number"])) if match else (name, 0)


def _step_of(node: Mapping[str, Any]) -> str | None:
    """Return the step of a node, from its path such as ``town-x.root.train.executor``."""
    parts = str(node.get("name") or "").split(".")
    return next(filter(None, map(_step_named, reversed(parts))), None)


def _step_named(name: str) -> str | None:
    """Return the step of a node by its own name, such as ``train-driver``."""
    base = re.sub(r"\(.*\)$", "", name).removesuffix("-driver")
    return base if base in STEPS else None


def _reason(step: str | None, message: str) -> str | None:
    text = _CONTAINER.sub("", " ".join(message.split()))
    if not text:
        return None
    if step:
        match = _REASON.match(text)
        end = match.end() if match else 0
        text = f"{text[:end]} in {step}{text[end:]}" if match else f"{step}: {text}"
    return text if len(text) <= MAX_MESSAGE_CHARS else f"{text[: MAX_MESSAGE_CHARS - 3]}..."


def _dict(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
