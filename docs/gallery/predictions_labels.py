"""What do the best, the median and the worst run predict in whole scenes?"""

import rvlab
from rvlab import plot

lab = rvlab.Lab()
board = lab.runs("towns").sort_values("metrics.f1", ascending=False)
figure = plot.predictions(board.iloc[[0, len(board) // 2, -1]])
figure.savefig("predictions_labels.png")
