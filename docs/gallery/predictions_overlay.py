"""Do the outlines of the prediction follow the objects in the image?"""

import rvlab
from rvlab import plot

lab = rvlab.Lab()
board = lab.runs("trees").sort_values("metrics.f1", ascending=False)
figure = plot.predictions(board, columns=["truth", "runs"], show="overlay", classes="tree")
figure.savefig("predictions_overlay.png")
