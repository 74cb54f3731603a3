"""The code of each pod of a pipeline; kfp copies the source of these functions into the YAML.

So each function imports what it needs. Its name and arguments must not change, since they are part
of pipelines that were compiled before. kfp needs annotations as objects, so this module does not
import ``annotations`` from ``__future__``. Inside a loop, no function reads the output of another
task: kfp would replace the output by the item of the loop.
"""

from typing import List  # noqa: UP035  kfp's prelude in the pod has this name

from kfp import dsl


def configure(
    rvlab_recipe: str, rvlab_source: str, rvlab_job: str, **recipe_inputs: object
) -> List[str]:  # noqa: UP006
    """Find or create the run, write its config, and return one item per split."""
    from rvlab.pipeline.task import run_configure

    return run_configure(rvlab_recipe, rvlab_source, rvlab_job, recipe_inputs)


def analyze(items: List[str]) -> str:  # noqa: UP006
    """Compute statistics of the imagery."""
    from rvlab.pipeline.task import run_whole_step

    return run_whole_step("analyze", items[0])


def chip(item: str) -> str:
    """Cut training chips, one split."""
    from rvlab.pipeline.task import run_split

    return run_split("chip", item)


def train(items: List[str], done: List[str]) -> str:  # noqa: UP006
    """Train the model once all chips are written."""
    from rvlab.pipeline.task import run_whole_step

    return run_whole_step("train", items[0])


def predict(item: str) -> str:
    """Predict scenes, one split."""
    from rvlab.pipeline.task import run_split

    return run_split("predict", item)


def eval_(items: List[str], done: List[str]) -> str:  # noqa: UP006
    """Evaluate the predictions of all splits."""
    from rvlab.pipeline.task import run_whole_step

    return run_whole_step("eval", items[0])


def bundle(items: List[str]) -> str:  # noqa: UP006
    """Write the model bundle."""
    from rvlab.pipeline.task import run_whole_step

    return run_whole_step("bundle", items[0])


def summarize(
    items: List[str],  # noqa: UP006
    metrics: dsl.Output[dsl.Metrics],
    confusion: dsl.Output[dsl.ClassificationMetrics],
    report: dsl.Output[dsl.Markdown],
    predictions: dsl.Output[dsl.HTML],
) -> None:
    """Write the run's tables and end record, and the outputs that Kubeflow's pages show."""
    from rvlab.pipeline.task import run_whole_step
    from rvlab.report.kubeflow import emit

    run_whole_step("summarize", items[0])
    emit(items[0], metrics, confusion, report, predictions)
