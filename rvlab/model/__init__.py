"""Frozen dataclasses of runs, specs, steps and end records, without input or output."""

from rvlab.model.end import EndRecord
from rvlab.model.groups import headline_group
from rvlab.model.run import (
    ANNOTATIONS_DIR,
    CACHE_DIR,
    END_STATES,
    RESERVED_NAMES,
    RUNS_DIR,
    SPLIT_STEPS,
    STATES,
    STEPS,
    Run,
    Sweep,
    is_valid_name,
    new_run_id,
    step_name,
    utc_now,
    validate_name,
)
from rvlab.model.spec import Spec
from rvlab.model.step import (
    HEARTBEAT_S,
    HEARTBEAT_TIMEOUT_S,
    StepRecord,
    end_record,
    run_costs,
    run_device,
)

__all__ = [
    "ANNOTATIONS_DIR",
    "CACHE_DIR",
    "END_STATES",
    "HEARTBEAT_S",
    "HEARTBEAT_TIMEOUT_S",
    "RESERVED_NAMES",
    "RUNS_DIR",
    "SPLIT_STEPS",
    "STATES",
    "STEPS",
    "EndRecord",
    "Run",
    "Spec",
    "StepRecord",
    "Sweep",
    "end_record",
    "headline_group",
    "is_valid_name",
    "new_run_id",
    "run_costs",
    "run_device",
    "step_name",
    "utc_now",
    "validate_name",
]
