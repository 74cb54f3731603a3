"""Arguments of a run's pipeline, from the records of the run."""

from __future__ import annotations

import ast
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rvlab.clone import load_recorded
from rvlab.model import Run, Spec
from rvlab.pipeline.inputs import (
    EXPERIMENT,
    RUN,
    SEED,
    SPLITS,
    STORE,
    check_defaults,
    pack_source,
    pipeline_arguments,
    pipeline_inputs,
)
from rvlab.recipes import Recipe
from rvlab.recipes.signature import ROOT_PARAMETER
from rvlab.store import Store
from rvlab.store.addresses import path_exists
from rvlab.user_warning import warn_user


def validate_pipeline(recipe: Recipe, points: Sequence[Mapping[str, Any]], store: str) -> None:
    """Raise if the recipe or its points cannot be a pipeline; called before a run is recorded.

    Raises:
        SpecError: If a parameter's name, default or value cannot pass through Kubeflow, or the
            source is too long for it.
    """
    known = pipeline_inputs(recipe, store)
    check_defaults(known)
    pack_source(recipe)
    for point in points:
        pipeline_arguments(known, {**point, STORE: store})


def warn_of_local_files(recipe: Recipe, points: Sequence[Mapping[str, Any]]) -> None:
    """Warn of modules and paths of this machine, which pods lack unless the image has them.

    Warns:
        UserWarning: For a module next to the recipe that it imports, and for each parameter whose
            value is an absolute path that exists here.
    """
    for name in sorted(_imported_names(recipe.source) - {"rvlab", "rastervision"}):
        beside = Path(recipe.folder or os.devnull) / name
        if beside.with_suffix(".py").is_file() or (beside / "__init__.py").is_file():
            warn_user(
                f"{recipe.name} imports {name!r}, a file next to it, which pods do not have. Copy "
                "it into the recipe or the image.",
            )
    texts = {(k, v) for point in points for k, v in point.items() if isinstance(v, str | Path)}
    for name, value in sorted((k, str(v)) for k, v in texts):
        if Path(value).is_absolute() and path_exists(value):
            warn_user(
                f"The parameter {name!r} is {value!r}, a path of this machine, which pods do not "
                "have. Pass an s3:// URI, unless the image has it.",
            )


def _imported_names(source: str) -> set[str]:
    """Return the top-level names that a source imports."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError):  # reported when the recipe is executed
        return set()
    names = {one.name for node in nodes if isinstance(node, ast.Import) for one in node.names}
    names |= {
        str(node.module) for node in nodes if isinstance(node, ast.ImportFrom) and not node.level
    }
    return {name.partition(".")[0] for name in names}


def load_request(store: Store, run: Run) -> tuple[Spec, Recipe, dict[str, Any]]:
    """Read the spec and the recipe of a run, and the inputs of its pipeline.

    Raises:
        SpecError: If the run has no recipe, or Kubeflow would change a value.
        StoreError: If the records cannot be read.
    """
    spec, recipe = load_recorded(store, run)
    values = {
        **spec.params,
        **{name: uri for name, uri in spec.places.items() if name != ROOT_PARAMETER},
        SPLITS: spec.splits,
        SEED: spec.seed,
        STORE: store.uri,
        EXPERIMENT: spec.experiment,
        RUN: run.uri,
    }
    return spec, recipe, pipeline_arguments(pipeline_inputs(recipe, store.uri), values)
