"""Suggestions of words with the same meaning."""

from __future__ import annotations

import pandas as pd
import pytest

from rvlab.compare.columns import metric_column
from rvlab.errors import SpecError, TableError, did_you_mean
from rvlab.frame.input_tables import require_columns
from rvlab.recipes import find_recipe, shipped_recipes
from rvlab.synonyms import same_meaning

COLUMNS = ["state", "created", "duration", "params.lr", "params.batch_size", "metrics.f1"]
COLUMNS += ["metrics.mean_iou", "metrics.accuracy", "metrics.f1.building"]


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("learning_rate", ["lr", "train_share"], ["lr"]),
        ("learningRate", ["lr"], ["lr"]),
        ("lr", ["learning_rate"], ["learning_rate"]),
        ("batch_sz", ["batch_size"], ["batch_size"]),
        ("batch_size", ["batch_sz"], ["batch_sz"]),
        ("num_epoch", ["epochs"], ["epochs"]),
        ("epochs", ["num_epochs"], ["num_epochs"]),
        ("params.learning_rate", [*COLUMNS, "metrics.lr"], ["params.lr"]),
        ("learning_rate", COLUMNS, ["params.lr"]),
        ("miou", COLUMNS, ["metrics.mean_iou"]),
        ("IoU", COLUMNS, ["metrics.mean_iou"]),
        ("metrics.acc", COLUMNS, ["metrics.accuracy"]),
        ("dice", COLUMNS, ["metrics.f1"]),
        ("loss", ["train_loss", "val_loss", "lr"], ["train_loss", "val_loss"]),
        ("status", COLUMNS, ["state"]),
        ("finished", ["succeeded", "failed"], ["succeeded"]),
        ("zebra", COLUMNS, []),
        ("", ["lr"], []),
    ],
)
def test_words_of_other_libraries_have_their_word_here(
    word: str, known: list[str], expected: list[str]
) -> None:
    assert same_meaning(word, known) == expected


def test_suggestion_is_by_meaning_first_and_by_spelling_otherwise() -> None:
    assert did_you_mean("learning_rate", ["lr", "train_rate"]) == "Did you mean 'lr'?"
    assert did_you_mean("eposh", ["epochs", "lr"]) == "Did you mean 'epochs'?"
    assert did_you_mean("zebra", ["epochs", "lr"]) == "There are 'epochs', 'lr'."


def test_parameters_columns_and_metrics_are_suggested_by_meaning() -> None:
    for recipe in shipped_recipes():
        signature = find_recipe(recipe).signature
        words = {"learning_rate": "lr", "num_epochs": "epochs", "batch_sz": "batch_size"}
        for word, expected in words.items():
            with pytest.raises(SpecError, match=rf"{word}'\. Did you mean '{expected}'\?$"):
                signature.bind({word: 1})
    table = pd.DataFrame({name: [1.0] for name in COLUMNS})
    with pytest.raises(TableError, match=r"'learning_rate'\. Did you mean 'params\.lr'\?"):
        require_columns(table, ["learning_rate"], "table of runs")
    with pytest.raises(TableError, match=r"'miou'\. Did you mean 'metrics\.mean_iou'\? Metrics"):
        metric_column(table, "miou")
