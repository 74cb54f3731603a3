"""Settings of a cluster: profiles in ``rvlab.toml``, overridden by the environment.

    [profile.lab-cluster]
    host = "http://localhost:8080"
    image = "registry.example/rvlab:0.1.0"

    [profile.lab-cluster.s3]
    cluster_endpoint = "http://seaweedfs.kubeflow:9000"
    secret = "mlpipeline-minio-artifact"

    [profile.lab-cluster.steps.train]
    gpu = 1
    memory = "16Gi"
    shm = "4Gi"

    [read]
    allow = ["/data/imagery", "https://tiles.example/scenes"]

A variable such as ``RVLAB_IMAGE`` or ``RVLAB_STEPS__TRAIN__GPU`` overrides the file.
`rvlab.store.addresses` reads ``[read]``.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from rvlab.errors import NotFound, SpecError, did_you_mean
from rvlab.kubernetes_values import (
    CpuQuantity,
    ImageName,
    LabelKey,
    LabelValue,
    MemoryQuantity,
    NamespaceName,
    ObjectName,
    ResourceName,
    SecretKey,
    VariableName,
    size_in_bytes,
)
from rvlab.model import STEPS
from rvlab.store.addresses import FILE, settings_file
from rvlab.store.patience import DEFAULT_PATIENCE_S

VARIABLE_PREFIX, PROFILE_VARIABLE = "RVLAB_", "RVLAB_PROFILE"

SECRET_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
"""Variables that no settings file may contain."""

Url = Annotated[str, StringConstraints(pattern=r"^https?://[!-~]+$")]
Region = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]+$")]

DEFAULT_API_PATIENCE_S = 60.0
"""Default of `Profile.api_patience_s`: about as long as a restart of Kubeflow's API server."""


class Toleration(BaseModel):
    """A taint of nodes that a step's pod tolerates, in Kubernetes' terms."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: LabelKey | None = None
    operator: Literal["Equal", "Exists"] = "Equal"
    value: LabelValue | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None

    @model_validator(mode="after")
    def _as_kubernetes_requires(self) -> Toleration:
        if self.operator == "Exists" and self.value:
            raise ValueError(f"the operator Exists has no value, got {self.value!r}")
        if self.operator == "Equal" and not self.key:
            raise ValueError("the operator Equal needs a key; Exists alone tolerates every taint")
        return self


class StepResources(BaseModel):
    """Resources of a step; None uses the value of the step ``default``.

    Attributes:
        cpu: Processors, request and limit, such as ``"4"`` or ``"500m"``.
        memory: Memory, request and limit, such as ``"16Gi"``.
        gpu: Number of GPUs.
        gpu_type: The name of the resource, such as ``nvidia.com/gpu``.
        shm: The size of ``/dev/shm``, which torch's data loaders need; it counts as memory.
        timeout_s: Seconds after which a pod is stopped.
        retries: How often a failed step is started again.
        node_selector: Labels that the node must have.
        tolerations: Taints that the pod tolerates.
        env: More variables, without secrets: they are part of the compiled pipeline.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    cpu: CpuQuantity | None = None
    memory: MemoryQuantity | None = None
    gpu: Annotated[int, Field(ge=0)] | None = None
    gpu_type: ResourceName | None = None
    shm: MemoryQuantity | None = None
    timeout_s: Annotated[int, Field(gt=0)] | None = None
    retries: Annotated[int, Field(ge=0)] | None = None
    node_selector: dict[LabelKey, LabelValue] | None = None
    tolerations: tuple[Toleration, ...] | None = None
    env: dict[VariableName, str] | None = None

    @field_validator("env")
    @classmethod
    def _without_keys(cls, env: dict[str, str] | None) -> dict[str, str] | None:
        name = next((name for name in env or () if name.upper() in SECRET_VARIABLES), None)
        if name:
            raise ValueError(f"{name} would be in the pipeline's YAML. Name a secret: s3.secret")
        name = next((name for name, value in (env or {}).items() if "{{" in value), None)
        if name:
            raise ValueError(f"the value of {name} contains '{{{{', which Argo would replace")
        return env


class S3(BaseModel):
    """One bucket with two endpoints.

    Attributes:
        endpoint: The notebook's endpoint; None uses the AWS variables.
        cluster_endpoint: The pods' endpoint; None is Amazon's own.
        region: The bucket's region.
        secret: The Kubernetes secret with the pods' credentials; None if the pods get them from
            their service account.
        access_key: The key of the secret that holds the access key.
        secret_key: The key of the secret that holds the secret key.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: Url | None = None
    cluster_endpoint: Url | None = None
    region: Region | None = None
    secret: ObjectName | None = None
    access_key: SecretKey = "accesskey"
    secret_key: SecretKey = "secretkey"  # noqa: S105  the name of a key, not a secret


class Profile(BaseSettings):
    """One cluster: its address, and the image and resources of its runs.

    Attributes:
        host: URL of Kubeflow's API for the notebook; None searches inside the cluster.
        ui: URL of Kubeflow's pages, for links; None is `host`.
        namespace: The profile's namespace on a shared cluster; None on a standalone one.
        token_env: The variable that holds the token; no file contains the token itself.
        store: Where runs are stored, ``s3://bucket/prefix``.
        image: The worker image.
        image_pull_policy: Kubernetes' pull policy.
        image_pull_secrets: Names of the secrets for a private registry.
        service_account: The pods' service account; None is Kubeflow's own.
        max_parallel: Maximum number of concurrent submissions to Kubeflow.
        patience_s: Seconds for which a step, or ``lab.wait``, waits for a store that does not
            answer.
        api_patience_s: Seconds for which a call is repeated while Kubeflow's API does not answer.
        s3: The bucket.
        steps: Resources of each step, and of ``default`` for all.
    """

    model_config = SettingsConfigDict(
        env_prefix=VARIABLE_PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    host: Url | None = None
    ui: Url | None = None
    namespace: NamespaceName | None = None
    token_env: VariableName | None = None
    store: str | None = None
    image: ImageName = "rvlab-worker:0.1.0"
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: tuple[ObjectName, ...] = ()
    service_account: ObjectName | None = None
    max_parallel: Annotated[int, Field(gt=0)] = 8
    patience_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = DEFAULT_PATIENCE_S
    api_patience_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = DEFAULT_API_PATIENCE_S
    s3: S3 = S3()
    steps: dict[str, StepResources] = {}

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], *_: Any, **sources: PydanticBaseSettingsSource
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Give the environment precedence over the file."""
        return sources["env_settings"], sources["init_settings"]

    @model_validator(mode="after")
    def _shared_memory_fits(self) -> Profile:
        for step in (*STEPS, "default"):
            found = self.resources(step)
            if not (found.shm and found.memory):
                continue
            if size_in_bytes(found.shm) >= size_in_bytes(found.memory):
                raise ValueError(
                    f"shm of the step {step} is {found.shm!r}, which counts as memory, so it must "
                    f"be less than memory, {found.memory!r}"
                )
        return self

    def resources(self, step: str) -> StepResources:
        """Return the resources of a step; unset values come from ``default``."""
        layers = (self.steps.get(name, StepResources()) for name in ("default", step))
        merged: dict[str, Any] = {}
        for one in layers:
            merged |= {
                n: v for n in StepResources.model_fields if (v := getattr(one, n)) is not None
            }
        return StepResources(**merged)


def store_setting(given: str | Path | None, profile: Profile | None = None) -> str:
    """Return the name of the setting that a store's address comes from.

    Args:
        given: The argument of `Lab`, or ``--store``.
        profile: The profile that was loaded.
    """
    if given:
        return "the argument"
    variable = f"{VARIABLE_PREFIX}STORE"
    if os.environ.get(variable):
        return f"${variable}, which overrides {FILE}" if settings_file() else f"${variable}"
    return f"`store` in {FILE}" if profile and profile.store else "the default"


def load_profile(name: str | None = None, path: Path | None = None) -> Profile:
    """Load a profile of the settings file.

    Args:
        name: Its name; None is ``$RVLAB_PROFILE``, else the only one or the one named ``default``.
            Without a file, the environment alone is read.
        path: The file; None is ``$RVLAB_CONFIG``, else the ``rvlab.toml`` in this folder or the
            nearest parent.

    Raises:
        NotFound: If the file or the profile does not exist.
        SpecError: If the file has unknown or invalid settings.
    """
    file = path or settings_file()
    profiles = _read_profiles(file) if file else {}
    chosen = name or os.environ.get(PROFILE_VARIABLE)
    if chosen is None and profiles:
        chosen = next(iter(profiles)) if len(profiles) == 1 else "default"
    if chosen is not None and chosen not in profiles:
        where = file or f"any {FILE} in this folder or its parents"
        raise NotFound(f"Unknown profile {chosen!r} in {where}. {did_you_mean(chosen, profiles)}")
    what = f"[profile.{chosen}] in {file}" if chosen else "the environment"
    return _build_profile(profiles.get(chosen or "", {}), what)


def _read_profiles(file: Path) -> dict[str, Any]:
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise SpecError(f"{file} cannot be read: {exc}.") from exc
    unknown = sorted(set(data) - {"profile", "read"})
    if unknown:
        raise SpecError(
            f"{file} has the unknown key {unknown[0]!r}; use [profile.NAME] and [read]."
        )
    found = data.get("profile", {})
    if not isinstance(found, dict) or not all(isinstance(one, dict) for one in found.values()):
        raise SpecError(f"{file} must contain tables [profile.NAME].")
    return found


def _build_profile(values: dict[str, Any], what: str) -> Profile:
    try:
        made = Profile(**values)
    except SettingsError as exc:
        name = f"{VARIABLE_PREFIX}{str(exc).split(chr(34))[1].upper()}"
        raise SpecError(f"${name} is {os.environ.get(name)!r}, but it must hold JSON.") from exc
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        what = _variable(first["loc"]) or what
        if first["type"] == "extra_forbidden":
            last = str(first["loc"][-1])
            raise SpecError(
                f"{what} has no setting {where!r}. {did_you_mean(last, _variable_names())}"
            ) from exc
        if first["type"] == "value_error":  # its input may hold a secret
            text = ": ".join(filter(None, (what, where, str(first["ctx"]["error"]))))
            raise SpecError(f"{text}.") from exc
        raise SpecError(f"{what}: {where} is {first['input']!r} ({first['msg'].lower()}).") from exc
    for step in made.steps:
        if step != "default" and step not in STEPS:
            raise SpecError(
                f"{what} has no step {step!r}. {did_you_mean(step, ('default', *STEPS))}"
            )
    return made


def _variable(loc: tuple[int | str, ...]) -> str | None:
    """Return the name of the variable that a setting comes from, if any."""
    parts = [str(part).upper() for part in loc]
    names = (f"{VARIABLE_PREFIX}{'__'.join(parts[:n])}" for n in range(len(parts), 0, -1))
    return next((f"${name}" for name in names if name in os.environ), None)


def _variable_names() -> set[str]:
    models = (Profile, S3, StepResources, Toleration)
    return {name for model in models for name in model.model_fields}
