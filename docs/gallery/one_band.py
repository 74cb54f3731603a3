"""What does one band of the imagery show, from its 2nd to its 98th percentile?"""

import rvlab
from rvlab import plot

lab = rvlab.Lab()
board = lab.runs("trees").sort_values("metrics.f1", ascending=False)
figure = plot.predictions(board.head(1), show="overlay", bands=[0], stretch=(2, 98), label="name")
figure.savefig("one_band.png")
