"""A recipe as people write them: ids from paths, files beside it, buildings, unlabelled scenes."""

from pathlib import Path

from rastervision.core.data import BuildingVectorOutputConfig, SemanticSegmentationLabelStoreConfig

from rvlab.recipes.synthetic_town import get_config as town


def get_config(runner, root_uri: str, data_uri: str = "scenes", nochip: bool = False):
    weight = float((Path(__file__).parent / "unusual-weight.txt").read_text())
    config = town(
        runner,
        root_uri=root_uri,
        data_uri=data_uri,
        epochs=1,
        scene_px=128,
        chip_px=64,
        width=2,
        nochip=nochip,
        train_scenes=1,
        validation_scenes=1,
        building_weight=weight,
    )
    (scene,) = config.dataset.validation_scenes
    scene.id = "AOI_2/img205"
    scene.label_store = SemanticSegmentationLabelStoreConfig(
        vector_output=[BuildingVectorOutputConfig(class_id=1)]
    )
    (bare,) = config.dataset.test_scenes
    bare.id = "AOI_5/img1"
    bare.label_source = None
    return config
