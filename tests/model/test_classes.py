"""The class of unlabelled pixels, by one rule for metrics and plots."""

from __future__ import annotations

import pytest

from rvlab.model.classes import unlabelled_id


@pytest.mark.parametrize(
    ("names", "null_class", "id_"),
    [
        (["road", "null"], None, 1),
        (["null", "road"], "null", 0),
        (["road", "null"], "road", None),
        (["road", "background"], "background", None),
        (["road"], None, None),
        (["road"], "null", None),
    ],
)
def test_only_a_null_class_named_null_is_unlabelled(
    names: list[str], null_class: str | None, id_: int | None
) -> None:
    assert unlabelled_id(names, null_class) == id_
