"""Filters of the table of runs by experiment, state and tags."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rvlab.errors import SpecError, did_you_mean
from rvlab.frame.run_names import RunNames
from rvlab.model.annotation import RunAnnotations, validate_tag
from rvlab.model.run import STATES
from rvlab.store import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class RunFilter:
    """Conditions that a run must satisfy; None accepts every run.

    Args:
        experiments: The run is in one of these.
        states: The run has one of these states.
        tags: The run has all of these tags.
    """

    experiments: Collection[str] | None
    states: Collection[str] | None
    tags: Collection[str]

    def mask(
        self,
        experiments: Sequence[str],
        states: Sequence[str | None],
        annotations: Sequence[RunAnnotations | None],
    ) -> NDArray[np.bool_]:
        """Return for each run whether it satisfies all conditions."""
        import numpy as np

        wanted = set(self.tags)
        kept = [
            (self.experiments is None or experiment in self.experiments)
            and (self.states is None or state in self.states)
            and wanted <= set(found.tags if found else ())
            for experiment, state, found in zip(experiments, states, annotations, strict=True)
        ]
        return np.array(kept, bool)


def validate_filter(
    store: Store,
    *,
    experiment: str | Iterable[str] | None = None,
    state: str | Iterable[str] | None = None,
    tags: str | Iterable[str] | None = None,
) -> RunFilter:
    """Return the filter of these arguments of `rvlab.Lab.runs`.

    Raises:
        NotFound: If an experiment does not exist.
        SpecError: If there is no such state, or a tag is invalid.
    """
    experiments, states = _as_list(experiment), _as_list(state)
    for word in states or ():
        if word not in STATES:
            raise SpecError(f"A run cannot have the state {word!r}. {did_you_mean(word, STATES)}")
    if experiments:
        names = RunNames(store)
        for name in experiments:
            if name not in names.experiments:
                raise names.no_experiment(name)
    return RunFilter(experiments, states, [validate_tag(tag) for tag in _as_list(tags) or ()])


def _as_list(given: str | Iterable[str] | None) -> list[str] | None:
    if given is None:
        return None
    return [given] if isinstance(given, str) else list(given)
