"""How long did each step take, and which runs ran at the same time?"""

import rvlab
from rvlab import plot

lab = rvlab.Lab()
runs = lab.runs("towns")
steps = lab.steps(runs)
figure = plot.timeline(steps, together=True)
figure.savefig("timeline.png")
