"""What pyproject.toml asks for: ``python3 requirements.py PYPROJECT [EXTRA ...]``.

pip installs a package and what it needs in one go. An image wants the second without the first, in
a layer of its own, which a change of rvlab's code does not touch.
"""

import sys
import tomllib
from pathlib import Path

if __name__ == "__main__":
    pyproject, *extras = sys.argv[1:]
    project = tomllib.loads(Path(pyproject).read_text(encoding="utf-8"))["project"]
    wanted = list(project["dependencies"])
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    sys.stdout.write("\n".join(wanted) + "\n")
