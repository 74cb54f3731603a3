"""Where are the false positives and false negatives of each run?"""

import rvlab
from rvlab import plot

lab = rvlab.Lab()
board = lab.runs("trees").sort_values("metrics.f1", ascending=False)
figure = plot.predictions(board, show="errors", classes="tree")
figure.savefig("predictions_errors.png")
