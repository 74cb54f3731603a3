"""Compiler from a recipe to the YAML of a Kubeflow pipeline, byte for byte reproducible.

    configure ► analyze ► chip × splits ► train ► predict × splits ► eval ► bundle ► summarize

`configure` returns a list with one item per split, over which chip and predict loop, so the number
of splits is decided when a run starts. A step that a config does not need ends immediately.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import re
import tempfile
import textwrap
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rvlab.errors import MissingExtra, SpecError
from rvlab.pipeline.claim import IMAGE_VARIABLE
from rvlab.pipeline.inputs import (
    PipelineInput,
    check_defaults,
    pack_source,
    pipeline_inputs,
)
from rvlab.recipes import Recipe
from rvlab.recipes.signature import REQUIRED
from rvlab.settings import S3, Profile, StepResources
from rvlab.store import S3Access
from rvlab.store.patience import PATIENCE_VARIABLE

if TYPE_CHECKING:
    from kfp.dsl.pipeline_task import PipelineTask

SHM_PATH = "/dev/shm"  # noqa: S108  shared memory of torch's data loaders

STEP_ENV = {
    "MPLBACKEND": "agg",
    "PYTHONHASHSEED": "0",  # Raster Vision iterates over sets of scene ids
    "PYTHONUNBUFFERED": "1",
    "TQDM_MININTERVAL": "10",
}
"""Environment of every step, as in the local engine."""


def compile_for_upload(
    recipe: Recipe, profile: Profile, *, store: str | None, source: str, remedy: str
) -> str:
    """Compile a recipe for an upload to Kubeflow, whose own pages then start runs of it.

    Args:
        recipe: The recipe.
        profile: The image, and the resources of the steps.
        store: The store's URI, the default location of runs.
        source: The setting that gives the URI, for the error message.
        remedy: A sentence with the remedy if pods cannot reach the store.

    Raises:
        SpecError: As `compile_pipeline`, or if the store is not on S3.
        MissingExtra: If kfp is not installed.
    """
    _require_kfp()
    if not store or not store.startswith("s3://"):
        raise SpecError(f"Pods cannot reach the store {store!r} ({source}). {remedy}")
    return compile_pipeline(recipe, profile, store=store)


def compile_pipeline(recipe: Recipe, profile: Profile, *, store: str) -> str:
    """Compile a recipe to YAML, with a second document for Kubernetes settings.

    Args:
        recipe: The recipe; its source is in the pipeline, so a run can be started from Kubeflow's
            own pages.
        profile: The image, and the resources of the steps.
        store: The store's URI, the default location of runs.

    Raises:
        SpecError: If the recipe's parameters cannot be the inputs of a pipeline, Kubeflow would
            change one of their defaults, or its source is too long for a pipeline.
        MissingExtra: If kfp is not installed.
    """
    _require_kfp()
    given = pipeline_inputs(recipe, store)
    check_defaults(given)
    # kfp reads the source of each frame of the stack for each variable of a task. A new thread has
    # a short stack; with the stack of a notebook or a test, this takes seconds.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(_compile, recipe, profile, given).result()


def _require_kfp() -> None:
    try:
        import kfp  # noqa: F401
    except ImportError as exc:
        raise MissingExtra("Compiling a pipeline needs kfp: pip install 'rvlab[kubeflow]'") from exc


def _compile(recipe: Recipe, profile: Profile, given: list[PipelineInput]) -> str:
    from kfp import compiler, dsl

    pipeline = dsl.pipeline(_graph(recipe, profile, given), name=pipeline_name(recipe))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(pipeline, str(path))
        return path.read_text(encoding="utf-8")


def pipeline_name(recipe: Recipe) -> str:
    """Return the recipe's name as Kubeflow allows it: lower-case letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", recipe.name.lower()).strip("-")[:100] or "recipe"


def _graph(recipe: Recipe, profile: Profile, given: list[PipelineInput]) -> Callable[..., None]:
    """Build the function that kfp traces, with the recipe's own signature."""
    from kfp import dsl

    from rvlab.pipeline import components

    names = [one.name for one in given]
    source = pack_source(recipe)

    def task(step: str, function: Callable[..., Any], arguments: Mapping[str, Any]) -> PipelineTask:
        component = dsl.component(function, base_image=profile.image, install_kfp_package=False)
        task_of_step = component(**arguments)
        # No caching: the effect of a step is in the store, not in its outputs.
        task_of_step.set_caching_options(False)
        _configure_task(task_of_step, profile, step)
        return task_of_step

    def graph(*channels: Any) -> None:
        values = dict(zip(names, channels, strict=True))
        configure = task(
            "configure",
            _with_named_inputs(components.configure, given),
            {
                "rvlab_recipe": recipe.name,
                "rvlab_source": source,
                "rvlab_job": dsl.PIPELINE_JOB_ID_PLACEHOLDER,
                **values,
            },
        )
        items = configure.output
        previous = task("analyze", components.analyze, {"items": items})
        for split, join in (
            (components.chip, components.train),
            (components.predict, components.eval_),
        ):
            with dsl.ParallelFor(items, name=f"{split.__name__}-splits") as item:
                done = task(split.__name__, split, {"item": item}).after(previous)
            inputs = {"items": items, "done": dsl.Collected(done.output)}
            previous = task(join.__name__.rstrip("_"), join, inputs)
        previous = task("bundle", components.bundle, {"items": items}).after(previous)
        task("summarize", components.summarize, {"items": items}).after(previous)

    parameters = [
        inspect.Parameter(
            one.name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=one.kind,
            default=inspect.Parameter.empty if one.default is REQUIRED else one.default,
        )
        for one in given
    ]
    graph.__name__ = pipeline_name(recipe).replace("-", "_")
    graph.__doc__ = None
    graph.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    graph.__annotations__ = {one.name: one.kind for one in given}
    return graph


def _with_named_inputs(
    function: Callable[..., Any], given: list[PipelineInput]
) -> Callable[..., Any]:
    """Expand the ``**name`` argument of a component into one named input per recipe parameter.

    kfp has no variadic inputs, and reads both the signature and the source of a component. The
    result has the source of `function`, with the arguments written out.
    """
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    definition = tree.body[0]
    if not isinstance(definition, ast.FunctionDef) or definition.args.kwarg is None:
        raise TypeError(f"{function.__name__} must have a ** argument.")
    variadic, definition.args.kwarg = definition.args.kwarg.arg, None
    definition.args.args += [
        ast.arg(one.name, ast.Name(one.kind.__name__, ast.Load())) for one in given
    ]
    collected = f"{variadic} = {{{', '.join(f'{one.name!r}: {one.name}' for one in given)}}}"
    has_docstring = ast.get_docstring(definition) is not None
    definition.body[has_docstring:has_docstring] = ast.parse(collected).body
    text = ast.unparse(ast.fix_missing_locations(tree)) + "\n"
    file = f"<rvlab {function.__name__}>"
    scope: dict[str, Any] = {"List": list}
    # Do not inherit this module's `annotations`: kfp needs annotations as objects.
    exec(compile(text, file, "exec", dont_inherit=True), scope)  # noqa: S102  source of a module of rvlab
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    expanded: Callable[..., Any] = scope[function.__name__]
    return expanded


def _configure_task(task: PipelineTask, profile: Profile, step: str) -> None:
    """Set a task's resources, variables and node, and the name of its secret, never its content."""
    from kfp import kubernetes

    resources = profile.resources(step)
    _set_resources(task, resources)
    variables = {**STEP_ENV, IMAGE_VARIABLE: profile.image, **_s3_variables(profile.s3)}
    variables |= {PATIENCE_VARIABLE: f"{profile.patience_s:g}", **(resources.env or {})}
    for name, value in sorted(variables.items()):
        task.set_env_variable(name, value)
    if profile.s3.secret:
        keys = {
            profile.s3.access_key: "AWS_ACCESS_KEY_ID",
            profile.s3.secret_key: "AWS_SECRET_ACCESS_KEY",
        }
        kubernetes.use_secret_as_env(task, profile.s3.secret, keys)
    kubernetes.set_image_pull_policy(task, profile.image_pull_policy)
    if profile.image_pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(profile.image_pull_secrets))
    for key, value in sorted((resources.node_selector or {}).items()):
        kubernetes.add_node_selector(task, key, value)
    for one in resources.tolerations or ():
        kubernetes.add_toleration(task, **one.model_dump())
    if resources.shm:
        kubernetes.empty_dir_mount(
            task, "dshm", SHM_PATH, medium="Memory", size_limit=resources.shm
        )
    if resources.timeout_s:
        kubernetes.set_timeout(task, resources.timeout_s)


def _set_resources(task: PipelineTask, resources: StepResources) -> None:
    if resources.cpu:
        task.set_cpu_request(resources.cpu).set_cpu_limit(resources.cpu)
    if resources.memory:
        task.set_memory_request(resources.memory).set_memory_limit(resources.memory)
    if resources.gpu:
        task.set_accelerator_type(resources.gpu_type or "nvidia.com/gpu")
        task.set_accelerator_limit(resources.gpu)
    if resources.retries:
        task.set_retry(resources.retries, backoff_duration="10s", backoff_factor=2.0)


def _s3_variables(s3: S3) -> dict[str, str]:
    """Return the S3 endpoint of pods as variables of each library, without secrets."""
    if not (s3.cluster_endpoint or s3.region):
        return {}
    variables = S3Access(endpoint=s3.cluster_endpoint, region=s3.region or "us-east-1").environ()
    if s3.secret and s3.cluster_endpoint:  # without a secret, it would redirect the STS of IRSA
        variables["AWS_ENDPOINT_URL"] = s3.cluster_endpoint
    return variables
