"""In which confusions of classes do the two best runs differ?"""

import rvlab
from rvlab import plot

lab = rvlab.Lab()
board = lab.runs("towns").sort_values("metrics.f1", ascending=False)
figure = plot.confusion(board.head(2), difference=True)
figure.savefig("confusion_difference.png")
