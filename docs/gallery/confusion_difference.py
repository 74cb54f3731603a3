"""In which confusions of classes do the two best runs differ?"""

import rvlab
from rvlab import plot

lab = rvlab.Lab()
board = lab.runs("towns").sort_values("metrics.f1", ascending=False)
best = board.head(2)
counts = lab.confusion(best)
figure = plot.confusion(counts, difference=True)
figure.savefig("confusion_difference.png")
