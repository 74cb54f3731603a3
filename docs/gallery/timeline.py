"""How long did each step take, and which runs ran at the same time?"""

import rvlab
from rvlab import plot

lab = rvlab.Lab()
figure = plot.timeline(lab.runs("towns"), together=True)
figure.savefig("timeline.png")
