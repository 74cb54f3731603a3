"""The contract of all engines, for the engines of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from rvlab import Lab
from rvlab.engines import Engine, LocalEngine
from rvlab.engines.rehearse import RehearseEngine
from rvlab.store import S3Access, Store
from rvlab.store.server import Server
from tests.contracts.engine import EngineContract, PipelineContract
from tests.engines.warm_engines import WarmRehearsal

pytestmark = pytest.mark.slow


def lab_on(s3: Server, access: S3Access, engine: Engine, prefix: str) -> Lab:
    """Return a lab on a prefix of the embedded S3 server, with any engine."""
    return Lab(Store(f"s3://{s3.bucket}/{prefix}", access), engine)


class TestLocal(EngineContract):
    """Runs in processes of this machine."""

    engine = "local"

    @pytest.fixture
    def lab(self, s3: Server, s3_access: S3Access) -> Lab:
        return lab_on(s3, s3_access, LocalEngine(max_parallel=2), "contract-local")


class TestRehearsal(PipelineContract):
    """Runs the pipeline for Kubeflow with kfp itself; the steps share their imports."""

    engine = "rehearse"

    @pytest.fixture
    def lab(self, s3: Server, s3_access: S3Access, python: Path) -> Lab:
        engine = WarmRehearsal(max_parallel=2, python=str(python))
        return lab_on(s3, s3_access, engine, "contract-rehearsal")


@pytest.mark.extended
class TestRehearsalInSeparateProcesses(PipelineContract):
    """The same as users run it, where each step imports torch and Raster Vision again."""

    engine = "rehearse"

    @pytest.fixture
    def lab(self, s3: Server, s3_access: S3Access) -> Lab:
        return lab_on(s3, s3_access, RehearseEngine(max_parallel=2), "contract-separate")
