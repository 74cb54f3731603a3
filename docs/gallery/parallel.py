"""Which combinations of parameters lead to the best runs?"""

import rvlab
from rvlab import plot

lab = rvlab.Lab()
figure = plot.parallel(lab.runs("better"), ["params.lr", "params.width", "seed"])
figure.savefig("parallel.png")
