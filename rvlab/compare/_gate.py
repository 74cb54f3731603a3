"""A gate that lets a candidate model replace a baseline, or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rvlab.compare._significance import Test, test
from rvlab.compare.columns import is_error
from rvlab.compare.display import comparison_html
from rvlab.compare.metric_functions import metric_label
from rvlab.compare.resample import is_finite
from rvlab.compare.truth import AnyTruth
from rvlab.errors import SpecError
from rvlab.frame.input_tables import RunsLike

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Gate:
    """The result of a gate.

    Attributes:
        verdict: ``passes``, ``fails`` or ``cannot tell``.
        margin: The largest acceptable loss of the candidate, in units of the metric.
        sentence: The verdict and its reason in words.
        test: The underlying test; ``a`` is the candidate.
    """

    verdict: str
    margin: float
    sentence: str
    test: Test

    def __str__(self) -> str:
        return self.sentence

    def _repr_pretty_(self, printer: Any, _cycle: bool) -> None:
        """Show the sentence in a terminal."""
        printer.text(self.sentence)

    def _repr_html_(self) -> str:
        limit = _limit(self.test, self.margin)
        return comparison_html(self.test, self.sentence, self.verdict, limit=limit)


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
    any_truth: AnyTruth = False,
) -> Gate:
    """Test whether a candidate is not worse than the baseline by more than a margin.

    The candidate **passes** if the complete confidence interval of ``candidate - baseline`` is
    above ``-margin`` and **fails** if it is completely below. Otherwise the verdict is
    **cannot tell**. For an error, such as ``count_error``, less is better: the candidate passes if
    the interval is below ``margin`` and fails if it is above. This is a test of non-inferiority
    (Piaggio et al., JAMA 308, 2012), one-sided at ``(1 - level) / 2``. With a margin of 0, only a
    candidate that is better passes, and the permutation test must agree. For nightly retraining,
    choose a loss that does not matter, such as 0.01. With too few scenes for any verdict (five at
    95 %) the result is always "cannot tell".

    Args:
        candidate: One run, or several that differ only in their seed.
        baseline: The same.
        metric: As for `rvlab.compare.test`, like the arguments below.
        margin: The largest acceptable loss, in units of the metric; a negative margin is the
            smallest gain that is required.
        group: The group of scenes; None selects the one of the headline metrics: ``validation``,
            else ``test``, else the first.
        level: The level of the interval.
        resamples: Number of resamples of the bootstrap and the permutation test.
        seed: Seed of the resampling.
        confusion: The matrices, as ``lab.confusion()`` returns them; None reads them.
        any_truth: Compare also where the truth differs: True, or the names of fingerprints whose
            differences are accepted: ``labels``, ``aois`` (areas of interest), ``grid``.

    Raises:
        TableError: As `rvlab.compare.test`.
        SpecError: As `rvlab.compare.test`, and if the margin is not a finite number.
    """
    if not is_finite(margin):
        raise SpecError(f"margin must be a finite number such as 0.01, got {margin!r}.")
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
        "cannot tell": f"The data do not show whether the candidate passes {margins}.",
    }[verdict]
    why = found.sentence[:1].upper() + found.sentence[1:]
    return Gate(verdict, margin, f"{head} {why}", found)


def _limit(found: Test, margin: float) -> float:
    """Return the difference that separates an acceptable loss from one that is too large."""
    return margin if is_error(found.metric) else -margin


def _verdict(found: Test, margin: float) -> str:
    is_significant = margin != 0 or found.p <= 1 - found.level
    if not found.has_enough_scenes or not is_significant:
        return "cannot tell"
    limit = _limit(found, margin)
    if found.low > limit:
        return "fails" if is_error(found.metric) else "passes"
    if found.high < limit:
        return "passes" if is_error(found.metric) else "fails"
    return "cannot tell"
