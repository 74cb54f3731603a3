"""Has training converged, and which learning rate learns fastest?"""

import rvlab
from rvlab import plot

lab = rvlab.Lab()
series = ["train_loss", "val_loss", "building_f1"]
figure = plot.curves(lab.runs("towns"), series, hue="params.lr")
figure.savefig("curves.png")
