"""The nouns: frozen, no input or output."""

from rvlab.model.end import EndRecord
from rvlab.model.groups import headline_group
from rvlab.model.run import (
    ANNOTATIONS_DIR,
    CACHE_DIR,
    ENDED,
    RESERVED,
    RUNS_DIR,
    SPLIT_STEPS,
    STATES,
    STEPS,
    Run,
    checked_name,
    is_name,
    new_id,
    step_name,
    utc_now,
)
from rvlab.model.spec import Spec
from rvlab.model.step import BEAT_S, SILENT_S, StepRecord, costs, device, end_record

__all__ = [
    "ANNOTATIONS_DIR",
    "BEAT_S",
    "CACHE_DIR",
    "ENDED",
    "RESERVED",
    "RUNS_DIR",
    "SILENT_S",
    "SPLIT_STEPS",
    "STATES",
    "STEPS",
    "EndRecord",
    "Run",
    "Spec",
    "StepRecord",
    "checked_name",
    "costs",
    "device",
    "end_record",
    "headline_group",
    "is_name",
    "new_id",
    "step_name",
    "utc_now",
]
