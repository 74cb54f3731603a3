"""How high is the score for a building in each cell?"""

import rvlab
from rvlab import plot

lab = rvlab.Lab()
figure = plot.predictions(
    lab.runs("cells"), scenes=["validation-0"], show="scores", classes="building", label="name"
)
figure.savefig("classification_scores.png")
