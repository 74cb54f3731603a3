"""How high is the score of a class in each pixel?"""

import rvlab
from rvlab import plot

lab = rvlab.Lab()
board = lab.runs("trees").sort_values("metrics.f1", ascending=False)
figure = plot.predictions(board, show="scores", classes="tree")
figure.savefig("predictions_scores.png")
