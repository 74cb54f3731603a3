"""Which scenes are hard for every run, and which for one of them?"""

import rvlab
from rvlab import plot

lab = rvlab.Lab()
figure = plot.heatmap(lab.runs("better").query("seed == 0"), metric="f1")
figure.savefig("heatmap.png")
