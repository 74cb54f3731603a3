"""Checks of a profile before the first run on its cluster."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rvlab.engines.kubeflow.client import KubeflowClient
from rvlab.errors import EngineError, SpecError
from rvlab.model.check_result import CheckResult
from rvlab.settings import Profile

OLDEST_VERSION = (2, 14)
"""The first version of Kubeflow Pipelines that can join the splits of a step."""

CHECK_EXPERIMENT = "rvlab-check"
"""The experiment that is created and deleted to check permissions."""

DEFAULT_NAMESPACE = "kubeflow"
"""The namespace of the pods of a standalone installation."""

KUBERNETES_TIMEOUT_S = (5, 10)


def check_kubeflow(client: KubeflowClient, profile: Profile) -> list[CheckResult]:
    """Check that Kubeflow can be reached and allows runs, and that the pods' secret exists.

    Returns:
        ``reach``, ``version``, ``namespace``, ``permission`` and one result per secret.
    """
    try:
        server = client.server()
    except EngineError as exc:
        remedy = "Correct `host` or `token_env` in rvlab.toml, or open the port forwarding again."
        failed = CheckResult("Kubeflow", "reach", "failed", str(exc), remedy)
        unchecked = [
            CheckResult("Kubeflow", name, "not checked")
            for name in ("version", "namespace", "permission")
        ]
        return [failed, *unchecked, *_check_secrets(profile)]
    return [
        CheckResult("Kubeflow", "reach", "ok", client.host),
        _check_version(server),
        _check_namespace(server, profile),
        _check_permission(client, profile),
        *_check_secrets(profile),
    ]


def _check_version(server: dict[str, Any]) -> CheckResult:
    tag = str(server.get("tag_name") or server.get("apiServerTagName") or "unknown")
    match = re.match(r"v?(\d+)\.(\d+)", tag)
    if not match:
        text = f"Kubeflow reports the version {tag!r}."
        remedy = "rvlab needs Kubeflow Pipelines {}.{} or later.".format(*OLDEST_VERSION)
        return CheckResult("Kubeflow", "version", "not checked", text, remedy)
    if (int(match[1]), int(match[2])) < OLDEST_VERSION:
        remedy = "Install {}.{} or later: earlier versions cannot join splits.".format(
            *OLDEST_VERSION
        )
        return CheckResult("Kubeflow", "version", "failed", tag, remedy)
    return CheckResult("Kubeflow", "version", "ok", tag)


def _check_namespace(server: dict[str, Any], profile: Profile) -> CheckResult:
    is_shared = bool(server.get("multi_user") or server.get("apiServerMultiUser"))
    if is_shared and not profile.namespace:
        text = "This Kubeflow has a namespace per user, and the profile has none."
        remedy = "Set `namespace` in rvlab.toml to the namespace of your Kubeflow profile."
        return CheckResult("Kubeflow", "namespace", "failed", text, remedy)
    if not is_shared and profile.namespace:
        namespace = profile.namespace
        text = f"The profile has the namespace {namespace!r}; this Kubeflow has one for all users."
        remedy = "Remove `namespace` from rvlab.toml."
        return CheckResult("Kubeflow", "namespace", "failed", text, remedy)
    return CheckResult("Kubeflow", "namespace", "ok", profile.namespace or "one for all users")


def _check_permission(client: KubeflowClient, profile: Profile) -> CheckResult:
    """List runs, and create and delete an experiment."""
    name = "permission"
    try:
        next(client.iter_pages(), None)
        client.delete_experiment(client.ensure_experiment(CHECK_EXPERIMENT))
    except EngineError as exc:
        where = profile.namespace or DEFAULT_NAMESPACE
        remedy = (
            f"Ask for the role kubeflow-edit in the namespace {where!r}, or get a new token for "
            f"${profile.token_env}."
            if profile.token_env
            else f"Ask for the role kubeflow-edit in the namespace {where!r}."
        )
        return CheckResult("Kubeflow", name, "failed", str(exc), remedy)
    return CheckResult("Kubeflow", name, "ok", "runs are listed, experiments are created")


def _check_secrets(profile: Profile) -> Iterator[CheckResult]:
    """Check that the secrets of the profile exist and have their keys, without showing values."""
    namespace = profile.namespace or DEFAULT_NAMESPACE
    keys_by_secret: dict[str, tuple[str, ...]] = dict.fromkeys(profile.image_pull_secrets, ())
    if profile.s3.secret:
        keys_by_secret[profile.s3.secret] = (profile.s3.access_key, profile.s3.secret_key)
    if not keys_by_secret:
        text = "the profile names none; pods use the permissions of their service account"
        yield CheckResult("Kubeflow", "secret", "ok", text)
        return
    try:
        api, context = _kubernetes()
    except SpecError as exc:
        for name in keys_by_secret:
            remedy = f"kubectl -n {namespace} get secret {name}"
            yield CheckResult("Kubeflow", f"secret {name}", "not checked", str(exc), remedy)
        return
    for name, keys in keys_by_secret.items():
        yield _check_secret(api, context, namespace, name, keys)


def _check_secret(
    api: Any, context: str, namespace: str, name: str, keys: tuple[str, ...]
) -> CheckResult:
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    check, command = f"secret {name}", f"kubectl -n {namespace} get secret {name}"
    try:
        # Do not preload the content: the client would log it.
        answer = api.read_namespaced_secret(
            name, namespace, _preload_content=False, _request_timeout=KUBERNETES_TIMEOUT_S
        )
        data = json.loads(answer.data).get("data") or {}
    except ApiException as exc:
        if exc.status != 404:
            text = f"Kubernetes answered {exc.status} to the context {context!r}."
            return CheckResult("Kubeflow", check, "not checked", text, command)
        text = f"The namespace {namespace!r} has no such secret (context {context!r})."
        files = " ".join(f"--from-file={key}" for key in keys)
        remedy = f"kubectl -n {namespace} create secret generic {name} {files}".strip()
        return CheckResult("Kubeflow", check, "failed", text, remedy)
    except (HTTPError, OSError, ValueError) as exc:
        text = f"Kubernetes did not answer to the context {context!r} ({type(exc).__name__})."
        return CheckResult("Kubeflow", check, "not checked", text, command)
    missing = [key for key in keys if key not in data]
    if missing:
        text = f"It has no key {missing[0]!r}, but {', '.join(sorted(data)) or 'none'}."
        remedy = "Set s3.access_key and s3.secret_key in rvlab.toml to the keys of the secret."
        return CheckResult("Kubeflow", check, "failed", text, remedy)
    padded = [key for key in keys if (value := base64.b64decode(data[key])) != value.strip()]
    if padded:
        text = f"The value of {padded[0]!r} starts or ends with a space or a newline."
        remedy = "Create the secret from files that do not end with a newline."
        return CheckResult("Kubeflow", check, "failed", text, remedy)
    return CheckResult("Kubeflow", check, "ok", f"namespace {namespace!r}, context {context!r}")


def _kubernetes() -> tuple[Any, str]:
    """Return Kubernetes' API and the name of the context.

    Raises:
        SpecError: If the Python client of Kubernetes is not installed, or has no configuration.
    """
    try:
        from kubernetes import client, config
    except ImportError as exc:
        raise SpecError("The package kubernetes is not installed.") from exc
    if "KUBERNETES_SERVICE_HOST" in os.environ and not os.environ.get("KUBECONFIG"):
        try:
            config.load_incluster_config()
        except config.ConfigException as exc:
            raise SpecError("This pod has no access to Kubernetes.") from exc
        return client.CoreV1Api(), "of this pod"
    try:
        _, active = config.list_kube_config_contexts()
        config.load_kube_config()
    except (config.ConfigException, OSError) as exc:
        file = os.environ.get("KUBECONFIG") or Path("~/.kube/config")
        raise SpecError(f"Kubernetes is not configured here ({file}).") from exc
    return client.CoreV1Api(), str(active["name"])
