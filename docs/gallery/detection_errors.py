"""Which boxes are true positives, false negatives or false positives?"""

import rvlab
from rvlab import plot

lab = rvlab.Lab()
board = lab.runs("boxes").sort_values("metrics.f1", ascending=False)
windows = lab.windows(board, by="error", scenes="validation-1", size=256, n=1)
figure = plot.predictions(board, windows, show="errors", iou=0.5)
figure.savefig("detection_errors.png")
