"""May the new model replace the old one?"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from rvlab.compare._significance import Test, test
from rvlab.compare.metric_functions import metric_label
from rvlab.compare.resample import is_finite
from rvlab.compare.resolve import RunsLike
from rvlab.errors import SpecError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Gate:
    """What a gate says.

    Attributes:
        verdict: ``passes``, ``fails`` or ``cannot tell``.
        margin: How much worse the candidate may be.
        sentence: Why, in words.
        test: The comparison that it rests on; ``a`` is the candidate.
    """

    verdict: str
    margin: float
    sentence: str
    test: Test

    def __str__(self) -> str:
        return self.sentence

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.sentence)}</p>"


def gate(
    candidate: RunsLike,
    baseline: RunsLike,
    metric: str = "f1",
    margin: float = 0.0,
    *,
    group: str | None = None,
    level: float = 0.95,
    resamples: int = 9999,
    seed: int = 0,
    confusion: pd.DataFrame | None = None,
    any_truth: bool = False,
) -> Gate:
    """Let a candidate pass if it is not worse than the baseline by more than a margin.

    It **passes** if the whole confidence interval of ``candidate - baseline`` lies above
    ``-margin``, **fails** if all of it lies below, and otherwise nobody **can tell**: a test of
    non-inferiority (Piaggio et al., JAMA 308, 2012), one-sided at ``(1 - level) / 2``. With a
    margin of 0 it passes only a candidate that is better, by the permutation test too; for nightly
    retraining give the loss that would not matter, such as 0.01. Too few scenes for any verdict
    (five at 95 %) are "cannot tell", whatever the numbers.

    Args:
        candidate: One run, or several that differ only in their seed.
        baseline: The same.
        metric: As for `rvlab.compare.test`, whose other arguments these are, too.
        margin: How much worse the candidate may be, in units of the metric; below 0 it has to be
            better by that much.
        group: The group of scenes; None takes the one that a run's row shows: ``validation``, else
            ``test``, else the first.
        level: The level of the interval.
        resamples: How often scenes are drawn and exchanged.
        seed: Makes it repeatable.
        confusion: The matrices, as ``lab.confusion()`` returns them; None reads them.
        any_truth: Compare also where labels or areas of interest differ.

    Raises:
        TableError: As `rvlab.compare.test`.
        SpecError: As `rvlab.compare.test`, and if the margin is no finite number.
    """
    if not is_finite(margin):
        raise SpecError(f"margin={margin!r} is no number. Give one such as 0.01.")
    found = test(
        candidate,
        baseline,
        metric,
        group=group,
        level=level,
        resamples=resamples,
        seed=seed,
        confusion=confusion,
        labels=("the candidate", "the baseline"),
        any_truth=any_truth,
    )
    verdict = _verdict(found, margin)
    margins = f"a margin of {margin:g} {metric_label(metric)}"
    head = {
        "passes": f"The candidate passes {margins}.",
        "fails": f"The candidate fails {margins}.",
        "cannot tell": f"Whether the candidate passes {margins} cannot be told.",
    }[verdict]
    why = found.sentence[:1].upper() + found.sentence[1:]
    return Gate(verdict, margin, f"{head} {why}", found)


def _verdict(found: Test, margin: float) -> str:
    if not found.has_enough_scenes:
        return "cannot tell"
    by_test = margin != 0 or found.p <= 1 - found.level
    if found.low > -margin and by_test:
        return "passes"
    if found.high < -margin and by_test:
        return "fails"
    return "cannot tell"
