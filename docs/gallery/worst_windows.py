"""Where do the runs make most errors?"""

import rvlab
from rvlab import plot

lab = rvlab.Lab()
board = lab.runs("towns").sort_values("metrics.f1", ascending=False)
windows = lab.windows(board, by="error", size=128, n=3)
figure = plot.predictions(board.iloc[[0, -1]], windows, show="errors")
figure.savefig("worst_windows.png")
