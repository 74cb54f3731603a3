from __future__ import annotations

import pytest

from tests.raster.samples import Experiment


@pytest.fixture
def experiment(tmp_path):
    """Two scenes and three runs that differ only in lr; the first is the best."""
    made = Experiment(tmp_path)
    for wrong, lr in ((0.02, 0.01), (0.2, 0.001), (0.6, 0.0001)):
        made.add(wrong, lr=lr, width=8)
    return made


@pytest.fixture(autouse=True)
def _closed():
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    yield
    plt.close("all")
