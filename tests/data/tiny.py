"""The shipped town, small enough to train in seconds, with options that make a step fail."""

from rvlab.recipes.data_dir import SharedFolder
from rvlab.recipes.synthetic_town import get_config as town

AUGMENTORS = ["RandomRotate90", "HorizontalFlip", "VerticalFlip"]  # Raster Vision's own default


def get_config(
    runner,
    root_uri: str,
    data_uri: SharedFolder = None,
    lr: float = 1e-2,
    epochs: int = 1,
    nochip: bool = True,
    keep_scores: bool = False,
    raises: str = "",
    no_such_class: bool = False,
):
    if raises:
        raise RuntimeError(raises)
    config = town(
        runner,
        root_uri=root_uri,
        data_uri=data_uri,
        lr=lr,
        epochs=epochs,
        scene_px=128,
        chip_px=64,
        width=2,
        nochip=nochip,
        keep_scores=keep_scores,
    )
    config.backend.data.augmentors = AUGMENTORS
    if no_such_class:  # train fails: the loss is given too few weights
        config.backend.solver.class_loss_weights = [1.0]
    return config
