"""How does a parameter change a metric, and how much do seeds differ?"""

import rvlab
from rvlab import plot

lab = rvlab.Lab()
ax = plot.scatter(lab.runs("better"), "params.lr", "metrics.f1", hue="params.width", log_x=True)
ax.figure.savefig("scatter.png")
