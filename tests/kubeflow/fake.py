"""A fake Kubeflow Pipelines API server for the calls of rvlab: REST v2beta1, stateful, in memory.

Its answers are Kubeflow's own models (`kfp_server_api`), and prism checks them against Kubeflow's
own description. What the description leaves open follows the API server's source
(kubeflow/pipelines, backend/src/apiserver): messages and codes, the supported filters, the content
of a page token, and that a filter is URL-decoded once more than HTTP does.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.parser import BytesParser
from email.policy import HTTP
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote_plus

import kfp_server_api as api
import yaml

from tests.kubeflow.wire import API, Handler, Refused, Request, Trouble, plain

ROOT = "/apis/v2beta1"
NEVER = datetime(1970, 1, 1, tzinfo=UTC)
ENDED = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")
LARGEST = 32 << 20
NO_IDENTITY = "Request header error: there is no user identity header."

_NAMED = {"name": "name", "display_name": "display_name", "description": "description"}
FILTERS = {
    "experiments": {"experiment_id", "display_name", "name", "namespace", "storage_state"},
    "pipelines": {"pipeline_id", *_NAMED, "namespace"},
    "pipeline_versions": {"pipeline_version_id", *_NAMED},
    "runs": {"run_id", "display_name", "state", "storage_state", "namespace", "experiment_id"},
}


class Kubeflow:
    """The server; a context manager.

    Args:
        token: Token that requests must have; None accepts all requests.
        namespaces: The profiles of a shared installation; None is a standalone one.
    """

    def __init__(self, token: str | None = None, namespaces: Sequence[str] | None = None) -> None:
        self.token, self.namespaces, self.version = token, namespaces, "2.17.0"
        self.lock = threading.RLock()
        self._server: ThreadingHTTPServer | None = None
        self.clear()

    def clear(self) -> None:
        """Delete all state."""
        self.requests: list[Request] = []
        self.troubles: list[Trouble] = []
        self.experiments: dict[str, api.V2beta1Experiment] = {}
        self.pipelines: dict[str, api.V2beta1Pipeline] = {}
        self.versions: dict[str, api.V2beta1PipelineVersion] = {}
        self.runs: dict[str, api.V2beta1Run] = {}
        self.workflows: dict[str, dict[str, Any]] = {}
        self.forbidden = False

    def __enter__(self) -> Kubeflow:
        handler = type("Mine", (Handler,), {"kubeflow": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        assert self._server
        return f"http://127.0.0.1:{self._server.server_port}"

    # Calls by tests.

    def fail(self, match: str, status: int, **more: Any) -> None:
        """Answer requests such as ``"POST .*/runs$"`` with a status, once or `times`."""
        self.troubles.append(Trouble(match, status=status, **more))

    def drop(self, match: str, *, after: bool = False, **more: Any) -> None:
        """Close the connection of such requests, before or after executing them."""
        self.troubles.append(Trouble(match, drop="after" if after else "before", **more))

    def to(self, run_id: str, state: str) -> None:
        """Set the state of a run."""
        run = self.runs[run_id]
        run.state = state
        run.finished_at = run.created_at + timedelta(minutes=3) if state in ENDED else NEVER
        run.state_history.append(api.V2beta1RuntimeStatus(update_time=self._now(), state=state))

    def fail_pod(self, run_id: str, step: str, message: str, **more: Any) -> None:
        """Let the pod of a step fail, and with it the run, as Argo and Kubeflow report it."""
        self.add_node(run_id, step, "Failed", message, **more)
        self.to(run_id, "FAILED")

    def add_node(
        self, run_id: str, step: str, phase: str, message: str = "", *, path: str = "executor"
    ) -> None:
        """Add a pod to a run's workflow, and the tasks that Kubeflow derives from it."""
        run, workflow = self.runs[run_id], self.workflows[run_id]
        nodes = workflow["status"]["nodes"]
        name = workflow["metadata"]["name"]
        at = (self._now() + timedelta(seconds=len(nodes))).strftime("%Y-%m-%dT%H:%M:%SZ")
        times = {"startedAt": at, "finishedAt": None if phase == "Pending" else at}
        for kind, parts, text in (("DAG", [step], ""), ("Pod", [step, path], message)):
            id_ = f"{name}-{len(nodes)}"
            node = {"id": id_, "name": ".".join([name, "root", *parts]), "displayName": parts[-1]}
            nodes[id_] = {**node, "type": kind, "phase": phase, **times}
            if text:
                nodes[id_]["message"] = text
            state = {"Error": "FAILED"}.get(phase, phase.upper())
            run.run_details.task_details.append(
                api.V2beta1PipelineTaskDetail(
                    run_id=run_id, display_name=parts[-1], state=state, end_time=self._now()
                )
            )

    def add_run(self, experiment: str, version: Any, name: str = "of another user") -> str:
        """Add a run that was not started by the test."""
        where = api.V2beta1PipelineVersionReference(
            pipeline_id=version.pipeline_id, pipeline_version_id=version.pipeline_version_id
        )
        run = api.V2beta1Run(
            display_name=name, experiment_id=experiment, pipeline_version_reference=where
        )
        sent = json.dumps(plain(run)).encode()
        return str(self.create_run(Request("POST", "", {}, sent)).run_id)

    def asked(self, match: str = "") -> int:
        """Return the number of requests that match, such as ``"GET .*/runs$"``."""
        return sum(bool(re.search(match, f"{r.method} {r.path}")) for r in self.requests)

    def sent(self) -> bytes:
        """Return all bytes that were received, except headers."""
        return b"\n".join(f"{r.path} {r.query}".encode() + r.body for r in self.requests)

    # The API.

    def answer(self, request: Request, authorization: str | None) -> Any:
        if self.token and authorization != f"Bearer {self.token}":
            raise Refused(401, NO_IDENTITY)
        if self.forbidden:
            raise Refused(403, "User 'me' is not authorized with reason: (no access)")
        with self.lock:
            for method, pattern, call in _ROUTES:
                found = re.fullmatch(
                    pattern if pattern[0] == "/" else f"{ROOT}/{pattern}", request.path
                )
                if found and method == request.method:
                    return call(self, request, *found.groups())
        raise Refused(404, "Not Found")

    def create_experiment(self, request: Request) -> Any:
        new = self._model(request, "V2beta1Experiment")
        self._space(new.namespace)
        self._unique(self.experiments, "experiment", new, "display_name")
        new.experiment_id, new.created_at = str(uuid.uuid4()), self._now()
        new.last_run_created_at, new.storage_state = NEVER, "AVAILABLE"
        self.experiments[new.experiment_id] = new
        return new

    def list_experiments(self, request: Request) -> Any:
        space = self._space(request.query.get("namespace"))
        rows = [one for one in self.experiments.values() if not space or one.namespace == space]
        return self._page("experiments", rows, request)

    def create_pipeline(self, request: Request) -> Any:
        new = self._model(request, "V2beta1Pipeline")
        if not new.name:
            raise Refused(400, "Invalid input error: name is required")
        return self._add_pipeline(new)

    def _add_pipeline(self, new: Any) -> Any:
        self._unique(self.pipelines, "pipeline", new, "name")
        new.pipeline_id, new.created_at = str(uuid.uuid4()), self._now()
        new.display_name = new.display_name or new.name
        self.pipelines[new.pipeline_id] = new
        return new

    def list_pipelines(self, request: Request) -> Any:
        space = request.query.get("namespace")
        rows = [one for one in self.pipelines.values() if not space or one.namespace == space]
        return self._page("pipelines", rows, request)

    def upload(self, request: Request) -> Any:
        """Create a pipeline, and a version of the same name."""
        spec = self._file(request)
        new = api.V2beta1Pipeline(
            name=request.query.get("name"), namespace=request.query.get("namespace")
        )
        try:
            made = self._add_pipeline(new)
        except Refused as exc:
            text = "Failed to create a pipeline and a pipeline version"
            raise Refused(exc.status, text, upload=True) from exc
        self._add_version(made, made.name, spec)
        return made

    def upload_version(self, request: Request) -> Any:
        spec = self._file(request)
        pipeline = self.pipelines.get(request.query.get("pipelineid", ""))
        if pipeline is None:
            raise Refused(400, "Failed to create a pipeline version", upload=True)
        return self._add_version(pipeline, request.query["name"], spec)

    def _add_version(self, pipeline: Any, name: str, spec: Any) -> Any:
        if len(name) > 127:
            raise Refused(400, "PipelineVersion.Name length cannot exceed 127", upload=True)
        if any(name == v.name for v in self.versions.values() if self._of(v, pipeline)):
            raise Refused(409, "Failed to create a pipeline version", upload=True)
        new = api.V2beta1PipelineVersion(
            pipeline_id=pipeline.pipeline_id,
            pipeline_version_id=str(uuid.uuid4()),
            name=name,
            display_name=name,
            created_at=self._now(),
            pipeline_spec=spec,
        )
        self.versions[new.pipeline_version_id] = new
        return new

    @staticmethod
    def _of(version: Any, pipeline: Any) -> bool:
        return bool(version.pipeline_id == pipeline.pipeline_id)

    def list_versions(self, request: Request, pipeline_id: str) -> Any:
        rows = [one for one in self.versions.values() if one.pipeline_id == pipeline_id]
        return self._page("pipeline_versions", rows, request)

    def create_run(self, request: Request) -> Any:
        new = self._model(request, "V2beta1Run")
        if not new.display_name:
            raise Refused(400, "The run name is empty. Please specify a valid name")
        experiment = self.experiments.get(new.experiment_id)
        if experiment is None:
            raise Refused(
                404, f"Failed to create a new run: Experiment {new.experiment_id} not found."
            )
        asked = new.pipeline_version_reference
        version = self.versions.get(asked.pipeline_version_id) if asked else None
        if version is None or version.pipeline_id != asked.pipeline_id:
            text = "Failed to create a new run: InternalServerError: Failed to fetch a template"
            raise Refused(500, text)
        new.run_id, new.created_at, new.scheduled_at = str(uuid.uuid4()), self._now(), self._now()
        new.finished_at, new.storage_state, new.state = NEVER, "AVAILABLE", None
        new.service_account = new.service_account or "pipeline-runner"
        new.state_history = [api.V2beta1RuntimeStatus(update_time=self._now())]
        wrapper = api.V2beta1PipelineTaskDetail(
            run_id=new.run_id, task_id=str(uuid.uuid4()), display_name="root-driver"
        )
        new.run_details = api.V2beta1RunDetails(task_details=[wrapper])
        self.runs[new.run_id] = new
        self.workflows[new.run_id] = {
            "metadata": {"name": f"town-{new.run_id[:5]}"},
            "spec": {},
            "status": {"nodes": {}},
        }
        return new

    def list_runs(self, request: Request) -> Any:
        experiment = request.query.get("experiment_id")
        rows = list(self.runs.values())
        if experiment:
            rows = [one for one in rows if one.experiment_id == experiment]
        else:
            space = self._space(request.query.get("namespace"))
            inside = {i for i, e in self.experiments.items() if not space or e.namespace == space}
            rows = [one for one in rows if one.experiment_id in inside]
        return self._page("runs", rows, request)

    def get_run(self, _: Request, run_id: str) -> Any:
        if run_id not in self.runs:
            raise Refused(404, f"Failed to get a run: Run {run_id} not found.")
        return self.runs[run_id]

    def get_older_run(self, request: Request, run_id: str) -> Any:
        """Return a run of the older API, which has the workflow as Argo reported it last."""
        run = self.get_run(request, run_id)
        manifest = (
            {} if run.state is None else {"workflow_manifest": json.dumps(self.workflows[run_id])}
        )
        about = {"id": run_id, "name": run.display_name, "storage_state": "STORAGESTATE_AVAILABLE"}
        return {"run": about, "pipeline_runtime": manifest}

    def healthz(self, _: Request) -> Any:
        return {
            "commit_sha": "unknown",
            "tag_name": self.version,
            "multi_user": self.namespaces is not None,
            "pipeline_store": "database",
        }

    def terminate(self, request: Request, run_id: str) -> Any:
        """Set the state, which is not added to the history, and the workflow's deadline."""
        run = self.get_run(request, run_id)
        if run.state not in (None, "PENDING", "RUNNING", "PAUSED"):
            text = f"Failed to terminate a run: Failed to terminate a run {run_id}. Row not found"
            raise Refused(400, text)
        run.state = "CANCELING"
        self.workflows[run_id]["spec"]["activeDeadlineSeconds"] = 0
        return {}

    def retry(self, request: Request, run_id: str) -> Any:
        run = self.get_run(request, run_id)
        if run.state in (None, "PENDING"):
            text = f"Failed to retry a run: Failed to retry run {run_id} due to error fetching "
            raise Refused(409, f"{text}workflow manifest")
        if run.state not in ("FAILED", "CANCELED"):
            text = (
                f"Failed to retry a run: InternalServerError: Failed to retry run {run_id} as it "
            )
            raise Refused(500, f"{text}does not allow reties")
        workflow = self.workflows[run_id]
        workflow["spec"].pop("activeDeadlineSeconds", None)
        nodes = workflow["status"]["nodes"]
        for id_ in [id_ for id_, one in nodes.items() if one["phase"] in ("Failed", "Error")]:
            del nodes[id_]
        self.to(run_id, "RUNNING")
        return {}

    def delete_experiment(self, _: Request, experiment_id: str) -> Any:
        if self.experiments.pop(experiment_id, None) is None:
            raise Refused(404, f"Failed to delete experiment: Experiment {experiment_id} not found")
        return {}

    # Implementation.

    def _now(self) -> datetime:
        """Return the time; several runs have the same second, as on a cluster."""
        return datetime(2026, 11, 23, tzinfo=UTC) + timedelta(seconds=len(self.runs) // 3)

    def _space(self, name: str | None) -> str | None:
        if self.namespaces is None:
            return None
        if not name:
            raise Refused(
                400, "Invalid input error: cannot have an empty namespace in multi-user mode"
            )
        if name not in self.namespaces:
            raise Refused(403, f"User 'me' is not authorized to access namespace {name}")
        return name

    @staticmethod
    def _unique(rows: Mapping[str, Any], what: str, new: Any, key: str) -> None:
        name = getattr(new, key)
        if any((getattr(o, key), o.namespace) == (name, new.namespace) for o in rows.values()):
            raise Refused(
                409,
                f"Already exist error: Failed to create a new {what}. The name {name} already "
                "exists. Please specify a new name",
            )

    @staticmethod
    def _model(request: Request, kind: str) -> Any:
        try:
            sent = json.loads(request.body)
        except ValueError as exc:
            raise Refused(400, f"invalid character: {exc}") from exc
        known = getattr(api, kind).attribute_map.values()
        unknown = set(sent) - set(known)
        if unknown:
            raise Refused(400, f'unknown field "{min(unknown)}" in {kind}')

        @dataclass
        class Answer:
            data: str

        return API.deserialize(Answer(json.dumps(sent)), kind)

    @staticmethod
    def _file(request: Request) -> Any:
        parts = BytesParser(policy=HTTP).parsebytes(request.body).iter_parts()
        found = [
            p for p in parts if p.get_param("name", header="content-disposition") == "uploadfile"
        ]
        if not found:
            raise Refused(400, "Failed to read pipeline from file", upload=True)
        data: Any = found[0].get_payload(decode=True)
        if len(data) > LARGEST:
            raise Refused(400, "Failed to read a pipeline spec file", upload=True)
        documents = list(yaml.safe_load_all(data))
        if not documents or "pipelineInfo" not in documents[0]:
            raise Refused(400, "Failed to create a pipeline version", upload=True)
        first, *rest = documents
        return {"pipeline_spec": first, "platform_spec": rest[0]} if rest else first

    def _page(self, kind: str, rows: list[Any], request: Request) -> Any:
        sort = (request.query.get("sort_by") or "created_at asc").lower().split()
        if sort[0] not in ("created_at", "display_name") or sort[1:] not in ([], ["asc"], ["desc"]):
            raise Refused(400, f"Invalid sorting field: {' '.join(sort)!r}")
        key, falls = f"{kind[:-1]}_id", sort[1:] == ["desc"]
        where = _predicates(request.query.get("filter", ""), kind)
        criteria = [kind, sort[0], falls, where]
        rows = [one for one in rows if all(_holds(one, *predicate) for predicate in where)]
        rows.sort(key=lambda one: (getattr(one, sort[0]), getattr(one, key)), reverse=falls)
        size = int(request.query.get("page_size") or 0)
        if size < 0:
            raise Refused(400, f"The page size should be greater than 0. Got {size}")
        size, total = min(size or 20, 200), len(rows)
        token = request.query.get("page_token")
        if token:
            try:
                *of, first = json.loads(base64.b64decode(token, validate=True))
            except ValueError as exc:
                raise Refused(400, "Invalid package token") from exc
            if of != criteria:
                raise Refused(
                    400,
                    "page token does not match the supplied sort by and/or filtering criteria. "
                    "Either specify the same criteria or leave the latter empty if page token is "
                    "specified.",
                )
            rows = rows[[getattr(one, key) for one in rows].index(first) :]
        following = getattr(rows[size], key) if len(rows) > size else None
        next_token = base64.b64encode(json.dumps([*criteria, following]).encode()).decode()
        words = {"total_size": total, "next_page_token": next_token if following else None}
        name = "".join(word.capitalize() for word in kind.split("_"))
        return getattr(api, f"V2beta1List{name}Response")(**{kind: rows[:size]}, **words)


def _predicates(text: str, kind: str) -> list[list[str]]:
    """Parse the predicates of a filter; it is URL-decoded here, although HTTP has done so."""
    if not text:
        return []
    try:
        if re.search("%(?![0-9a-fA-F]{2})", text):
            raise ValueError("invalid URL escape")
        asked = json.loads(unquote_plus(text))["predicates"]
        found = [[one["operation"], one["key"], one["stringValue"]] for one in asked]
    except (ValueError, KeyError, TypeError) as exc:
        raise Refused(400, f"failed to parse valid filter from {text!r}: {exc}") from exc
    for operation, key, _ in found:
        if operation != "EQUALS" or key not in FILTERS[kind]:
            raise Refused(400, f"Invalid filter: {operation} on {key!r}")
    return found


def _holds(one: Any, _: str, key: str, value: str) -> bool:
    """Compare as MySQL, in which Kubeflow stores names: without regard to case."""
    if isinstance(one, api.V2beta1Experiment) and key == "name":
        key = "display_name"
    return str(getattr(one, key)).casefold() == value.casefold()


_ID = "([^/:]+)"
_ROUTES: list[tuple[str, str, Callable[..., Any]]] = [
    ("GET", "experiments", Kubeflow.list_experiments),
    ("POST", "experiments", Kubeflow.create_experiment),
    ("GET", "pipelines", Kubeflow.list_pipelines),
    ("POST", "pipelines", Kubeflow.create_pipeline),
    ("POST", "pipelines/upload", Kubeflow.upload),
    ("POST", "pipelines/upload_version", Kubeflow.upload_version),
    ("GET", f"pipelines/{_ID}/versions", Kubeflow.list_versions),
    ("GET", "runs", Kubeflow.list_runs),
    ("POST", "runs", Kubeflow.create_run),
    ("GET", f"runs/{_ID}", Kubeflow.get_run),
    ("POST", f"runs/{_ID}:terminate", Kubeflow.terminate),
    ("POST", f"runs/{_ID}:retry", Kubeflow.retry),
    ("DELETE", f"experiments/{_ID}", Kubeflow.delete_experiment),
    ("GET", "healthz", Kubeflow.healthz),
    ("GET", f"/apis/v1beta1/runs/{_ID}", Kubeflow.get_older_run),
]


def counted(kubeflow: Kubeflow) -> Counter[str]:
    """Return how often each run was started, by name."""
    return Counter(run.display_name for run in kubeflow.runs.values())
