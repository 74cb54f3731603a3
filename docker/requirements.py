"""Print the dependencies in pyproject.toml: ``python3 requirements.py PYPROJECT [EXTRA ...]``.

pip installs a package together with its dependencies. The images install the dependencies first, in
a separate layer, which is cached when only rvlab's code changes.
"""

import sys
import tomllib
from pathlib import Path

if __name__ == "__main__":
    pyproject, *extras = sys.argv[1:]
    project = tomllib.loads(Path(pyproject).read_text(encoding="utf-8"))["project"]
    dependencies = list(project["dependencies"])
    for extra in extras:
        dependencies += project["optional-dependencies"][extra]
    sys.stdout.write("\n".join(dependencies) + "\n")
