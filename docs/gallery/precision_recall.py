"""Which share of the buildings does each detection find, and how many of its boxes are right?"""

import rvlab
from rvlab import plot

lab = rvlab.Lab()
boxes = lab.runs("boxes").sort_values("metrics.mAP50", ascending=False)
figure = plot.precision_recall(boxes, iou=0.5)
figure.savefig("precision_recall.png")
