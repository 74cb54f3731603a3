"""The contract of all engines for a rehearsal in the worker's image."""

from __future__ import annotations

import pytest

from rvlab import Lab
from rvlab.engines.rehearse import RehearseEngine
from rvlab.settings import Profile
from rvlab.store import S3Access
from rvlab.store.server import Server
from tests.contracts.engine import PipelineContract
from tests.docker.conftest import Docker, Images
from tests.engines.test_contract import lab_on

pytestmark = [pytest.mark.docker, pytest.mark.extended, pytest.mark.timeout(3600)]


class TestRehearsalInDocker(PipelineContract):
    """The rehearse engine with each step in a container of the worker's image."""

    engine = "rehearse"

    @pytest.fixture
    def lab(
        self,
        s3: Server,
        s3_access: S3Access,
        docker: Docker,
        images: Images,
        monkeypatch: pytest.MonkeyPatch,
    ) -> Lab:
        for name, value in docker.environ.items():
            monkeypatch.setenv(name, value)
        engine = RehearseEngine(max_parallel=2, docker=True, profile=Profile(image=images.worker))
        return lab_on(s3, s3_access, engine, "contract-docker")
