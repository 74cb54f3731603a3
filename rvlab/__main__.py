"""``python -m rvlab``."""

import sys

from rvlab.cli import main

sys.exit(main())
