"""What does a parameter do to a metric, and how far do the seeds scatter?"""

import rvlab
from rvlab import plot

lab = rvlab.Lab()
ax = plot.scatter(lab.runs("better"), "params.lr", "metrics.f1", hue="params.width", log_x=True)
ax.figure.savefig("scatter.png")
