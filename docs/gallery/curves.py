"""Has training converged, and which learning rate learns fastest?"""

import rvlab
from rvlab import plot

lab = rvlab.Lab()
runs = lab.runs("towns")
history = lab.history(runs)
figure = plot.curves(history, ["train_loss", "val_loss", "building_f1"], hue="params.lr")
figure.savefig("curves.png")
