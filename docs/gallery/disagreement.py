"""Where do the two best runs differ most?"""

import rvlab
from rvlab import plot

lab = rvlab.Lab()
best = lab.runs("towns").sort_values("metrics.f1", ascending=False).head(2)
windows = lab.windows(best, by="disagreement", size=128, n=3)
figure = plot.predictions(best, windows)
figure.savefig("disagreement.png")
