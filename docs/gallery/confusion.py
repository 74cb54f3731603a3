"""Which classes does each run confuse?"""

import rvlab
from rvlab import plot

lab = rvlab.Lab()
board = lab.runs("towns").sort_values("metrics.f1", ascending=False)
figure = plot.confusion(board.iloc[[0, -1]], normalize="truth")
figure.savefig("confusion.png")
