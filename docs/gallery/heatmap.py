"""Which scenes are hard for every run, and which for one of them?"""

import rvlab
from rvlab import plot

lab = rvlab.Lab()
runs = lab.runs("better").query("seed == 0")
evals = lab.evals(runs)
figure = plot.heatmap(evals, metric="f1")
figure.savefig("heatmap.png")
