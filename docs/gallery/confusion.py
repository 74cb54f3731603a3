"""Which classes does each run confuse?"""

import rvlab
from rvlab import plot

lab = rvlab.Lab()
board = lab.runs("towns").sort_values("metrics.f1", ascending=False)
ends = board.iloc[[0, -1]]
counts = lab.confusion(ends)
figure = plot.confusion(counts, normalize="truth")
figure.savefig("confusion.png")
