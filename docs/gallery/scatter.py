"""How does a parameter change a metric, and how much do seeds differ?"""

import rvlab
from rvlab import plot

lab = rvlab.Lab()
figure = plot.scatter(lab.runs("better"), x="params.lr", y="metrics.f1", hue="params.width")
figure.savefig("scatter.png")
