"""Which cells does a chip classification classify wrongly?"""

import rvlab
from rvlab import plot

lab = rvlab.Lab()
figure = plot.predictions(
    lab.runs("cells"), scenes=["validation-0"], show="errors", classes="building", label="name"
)
figure.savefig("classification.png")
