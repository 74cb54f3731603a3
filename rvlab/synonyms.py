"""Words with the same meaning in PyTorch, Keras, Raster Vision, trackers and rvlab.

Error messages use them to suggest ``lr`` for ``learning_rate``, which is not similar as text.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from functools import cache

_GROUPS = (
    # parameters
    "lr learning_rate base_lr init_lr lr0 max_lr eta",
    "batch_size batch_sz bs train_batch_size per_device_train_batch_size",
    "epochs num_epochs n_epochs nb_epochs max_epochs num_train_epochs",
    "chip_px chip_sz chip_size patch_size tile_size tile_sz window_size crop_size "
    "img_sz img_size imgsz image_size input_size",
    "stride_px stride chip_stride overlap",
    "workers num_workers n_workers",
    "backbone encoder encoder_name arch architecture model model_name",
    "pretrained pretrain weights encoder_weights",
    "width channels base_channels filters init_features hidden_size",
    "augment augmentation augmentations augmentors aug aug_transform transforms",
    "one_cycle one_cycle_lr scheduler lr_scheduler",
    "train_share train_ratio train_split split_ratio",
    "seed random_seed random_state data_seed split_seed",
    "held_out fold val_fold",
    "raw_uri data_dir data_root data_path dataset_path root_dir",
    "splits num_splits n_splits",
    # metrics and series
    "train_loss loss training_loss",
    "val_loss loss valid_loss validation_loss eval_loss test_loss",
    "f1 f1_score fscore f_score macro_f1 dice dice_score avg_f1 rv_average_f1",
    "mean_iou iou miou mean_io_u jaccard jaccard_index jaccard_score",
    "accuracy acc overall_accuracy pixel_accuracy oa val_acc val_accuracy",
    "precision rv_average_precision ppv",
    "recall rv_average_recall sensitivity tpr",
    "mAP map50 average_precision ap mean_average_precision",
    # columns
    "state status",
    "name run_name display_name",
    "experiment project experiment_name",
    "recipe config pipeline template",
    "created date time start_time timestamp created_at",
    "duration runtime elapsed elapsed_time training_time",
    "error exception reason traceback",
    "note notes description comment",
    "tags tag labels",
    "user author owner",
    "engine backend runner",
    "uri url path artifact_uri",
    "commit git_commit git_sha revision",
    "step stage task",
    # states
    "succeeded success successful finished complete completed done ok",
    "failed failure error crashed",
    "running active started in_progress",
    "queued pending scheduled waiting created",
    "cancelled canceled killed stopped aborted terminated",
    "lost dead zombie unknown",
    # groups of scenes
    "validation val valid dev",
    "test testing holdout",
    "train training",
)

_PREFIXES = ("params.", "metrics.", "costs.")


def same_meaning(word: str, known: Iterable[str]) -> list[str]:
    """Return the known words that mean the same as a word.

    Args:
        word: Such as ``learning_rate``, ``batchSize`` or ``params.num_epochs``.
        known: Such as the columns of a table. A prefix such as ``params.`` is ignored unless the
            word has one, too.
    """
    prefix, key = _split(word)
    found = []
    for one in known:
        its_prefix, its_key = _split(one)
        if its_key in _by_key()[key] and (not prefix or prefix == its_prefix):
            found.append(one)
    return found


@cache
def _by_key() -> defaultdict[str, frozenset[str]]:
    """Return the keys of the words that mean the same as a word, by its key."""
    found: defaultdict[str, frozenset[str]] = defaultdict(frozenset)
    for group in _GROUPS:
        keys = frozenset(_key(word) for word in group.split())
        for key in keys:
            found[key] |= keys
    return found


def _split(word: str) -> tuple[str, str]:
    prefix = next((one for one in _PREFIXES if word.startswith(one)), "")
    return prefix, _key(word.removeprefix(prefix))


def _key(word: str) -> str:
    """Return a word without case, separators and the s of a plural; ``f1.road`` is another word."""
    return re.sub(r"[^a-z0-9.]", "", word.lower()).removesuffix("s")
