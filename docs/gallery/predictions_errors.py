"""What does each run miss, and what does it see where there is nothing?"""

import rvlab
from rvlab import plot

lab = rvlab.Lab()
board = lab.runs("trees").sort_values("metrics.f1", ascending=False)
figure = plot.predictions(board, show="errors", classes="tree")
figure.savefig("predictions_errors.png")
