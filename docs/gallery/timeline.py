"""How long did each step take, and which runs ran at the same time?"""

import rvlab
from rvlab import plot

lab = rvlab.Lab()
runs = lab.runs("towns")
steps = lab.steps(runs).join(runs[["params.lr", "params.width"]], on="run")
figure = plot.timeline(steps, together=True)
figure.savefig("timeline.png")
