"""Try an installation of the client alone: tables, a plot, and the refusal of a run.

    python tools/try_client.py

It exits with status 1 if an extra is installed that the client does not need, or a call fails.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile

os.environ["MPLBACKEND"] = "agg"


def main() -> int:
    """Try the client; return the exit status."""
    import pandas as pd

    from rvlab import Lab, compare, plot
    from rvlab.errors import MissingExtra

    if importlib.util.find_spec("torch"):
        print("torch is installed, so this is not the client alone.")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RVLAB_HOME"] = os.environ["RVLAB_CACHE"] = f"{folder}/home"
        lab = Lab(f"{folder}/store")
        tables = [lab.runs(), lab.evals(), lab.history(), lab.confusion(), lab.artifacts()]
        plot.scatter(pd.DataFrame({"params.lr": [0.1, 0.2], "metrics.f1": [0.5, 0.6]}))
        print(f"pandas {pd.__version__}: {len(tables)} tables, {len(compare.__all__)} comparisons")
        try:
            lab.submit("synthetic_town")
        except MissingExtra as exc:
            print(exc)
        else:
            print("A run was started without the packages that it needs.")
            return 1
        return 1 if os.listdir(f"{folder}/store") else 0


if __name__ == "__main__":
    sys.exit(main())
