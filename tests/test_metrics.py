"""Metrics equal those of scikit-learn, for any leading shape, without unlabelled pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as sklearn

from rvlab import metrics
from rvlab.errors import SpecError

CLASSES = 5
PER_CLASS = [metrics.precision, metrics.recall, metrics.f1, metrics.iou]
OVERALL = [
    metrics.macro_precision,
    metrics.macro_recall,
    metrics.macro_f1,
    metrics.mean_iou,
    metrics.accuracy,
]
PEERS = {
    metrics.precision: sklearn.precision_score,
    metrics.recall: sklearn.recall_score,
    metrics.f1: sklearn.f1_score,
    metrics.iou: sklearn.jaccard_score,
    metrics.macro_precision: sklearn.precision_score,
    metrics.macro_recall: sklearn.recall_score,
    metrics.macro_f1: sklearn.f1_score,
    metrics.mean_iou: sklearn.jaccard_score,
}

# Draw few of the classes, so that some are missing from truth, from prediction, or from both.
some = st.lists(st.integers(0, CLASSES - 1), min_size=1, max_size=3, unique=True)
vectors = st.tuples(some, some, st.integers(1, 40)).flatmap(
    lambda c: st.tuples(
        st.lists(st.sampled_from(c[0]), min_size=c[2], max_size=c[2]),
        st.lists(st.sampled_from(c[1]), min_size=c[2], max_size=c[2]),
    )
)
matrices = st.lists(
    st.lists(st.sampled_from([0, 0, 1, 7, 10**9]), min_size=9, max_size=9), min_size=1, max_size=6
).map(lambda rows: np.array(rows).reshape(-1, 3, 3))


def matrix(truth: list[int], prediction: list[int]) -> NDArray[np.int64]:
    cm = np.zeros((CLASSES, CLASSES), np.int64)
    np.add.at(cm, (truth, prediction), 1)
    return cm


def test_confusion_matrix_has_truth_in_rows() -> None:
    known = np.array([[0, 0, 1], [1, 1, 9]], np.uint8)
    guess = np.array([[0, 1, 1], [1, 0, 0]], np.uint8)
    assert metrics.confusion_matrix(known, guess, 2).tolist() == [[1, 1], [1, 2]]


@pytest.mark.parametrize("number", [2, 16, 17])
def test_confusion_ignores_unknown_ids_and_pixels_outside(number: int) -> None:
    rng = np.random.default_rng(number)
    known, guess = rng.integers(0, number + 2, (2, 60, 70)).astype(np.uint8)
    inside = rng.random((60, 70)) < 0.5
    wanted = np.zeros((number, number), int)
    for true, said in zip(known[inside].tolist(), guess[inside].tolist(), strict=True):
        if true < number and said < number:
            wanted[true, said] += 1
    count = metrics.confusion_matrix
    assert (count(known, guess, number, inside) == wanted).all()
    assert (count(known.astype(int), guess.astype(int), number, inside) == wanted).all()
    assert count(known, guess, number, np.zeros_like(inside)).sum() == 0


@given(vectors)
@pytest.mark.parametrize("metric", PER_CLASS)
def test_class_metrics_equal_scikit_learn_where_they_are_defined(metric, pair):
    truth, prediction = pair
    got = metric(matrix(truth, prediction))
    want = PEERS[metric](truth, prediction, labels=range(CLASSES), average=None, zero_division=0)
    np.testing.assert_allclose(np.nan_to_num(got), want)
    in_truth, predicted = np.isin(range(CLASSES), truth), np.isin(range(CLASSES), prediction)
    defined = {metrics.precision: predicted, metrics.recall: in_truth}
    np.testing.assert_array_equal(~np.isnan(got), defined.get(metric, in_truth | predicted))


@given(vectors)
@pytest.mark.parametrize("metric", [m for m in OVERALL if m in PEERS])
def test_macro_averages_equal_scikit_learn_with_default_labels(metric, pair):
    want = PEERS[metric](*pair, average="macro", zero_division=0)
    assert float(metric(matrix(*pair))) == pytest.approx(want)


@given(vectors)
def test_accuracy_equals_scikit_learn(pair):
    assert float(metrics.accuracy(matrix(*pair))) == pytest.approx(sklearn.accuracy_score(*pair))


@given(vectors, st.integers(0, CLASSES - 1))
def test_ignore_drops_unlabelled_pixels_and_counts_their_predictions_as_false_negatives(
    pair, ignore
):
    cm = matrix(*pair)
    labelled = [(t, p) for t, p in zip(*pair, strict=True) if t != ignore]
    labels = sorted({c for both in labelled for c in both} - {ignore})
    for metric in PER_CLASS:
        assert np.isnan(metric(cm, ignore=ignore)[ignore])
    if not labelled:
        assert all(np.isnan(metric(cm, ignore=ignore)) for metric in OVERALL)
        return
    truth, prediction = zip(*labelled, strict=True)
    for metric, peer in PEERS.items():
        if metric in OVERALL:
            want = peer(truth, prediction, labels=labels, average="macro", zero_division=0)
            assert float(metric(cm, ignore=ignore)) == pytest.approx(want)
    want = sklearn.accuracy_score(truth, prediction)
    assert float(metrics.accuracy(cm, ignore=ignore)) == pytest.approx(want)


def test_labelled_pixels_predicted_as_null_lower_recall_and_accuracy():
    #                 building  road  null
    cm = np.array([[6, 0, 4], [0, 5, 0], [100, 0, 900]])
    np.testing.assert_allclose(metrics.recall(cm, ignore=2), [0.6, 1, np.nan])
    np.testing.assert_allclose(metrics.precision(cm, ignore=2), [1, 1, np.nan])
    assert float(metrics.accuracy(cm, ignore=2)) == pytest.approx(11 / 15)
    assert float(metrics.macro_recall(cm, ignore=2)) == pytest.approx(0.8)
    assert metrics.drop_unlabelled(cm, 2).tolist() == [[6, 0, 4], [0, 5, 0], [0, 0, 0]]
    assert cm[2, 2] == 900  # the matrix of the caller is not changed


def test_class_predicted_but_absent_from_truth_has_f1_zero_not_nan():
    cm = [[3, 1, 0], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(metrics.f1(cm), [6 / 7, 0, np.nan])
    np.testing.assert_allclose(metrics.recall(cm), [0.75, np.nan, np.nan])
    assert float(metrics.macro_f1(cm)) == pytest.approx(3 / 7)


def test_macro_averages_are_low_for_a_model_that_predicts_only_background():
    cm = np.array([[90, 0, 0], [8, 0, 0], [2, 0, 0]])
    weights = cm.sum(1) / cm.sum()
    assert (np.nan_to_num(metrics.f1(cm)) * weights).sum() == pytest.approx(0.853, abs=5e-4)
    assert float(metrics.macro_f1(cm)) == pytest.approx(0.316, abs=5e-4)
    assert float(metrics.macro_recall(cm)) == pytest.approx(1 / 3)
    assert float(metrics.mean_iou(cm)) == pytest.approx(0.3)


@given(matrices, st.sampled_from([None, 0, 2]))
@pytest.mark.parametrize("metric", [*PER_CLASS, *OVERALL])
def test_stack_of_matrices_equals_each_matrix_alone(metric, stack, ignore):
    got = metric(stack[None], ignore=ignore)
    want = np.stack([metric(cm, ignore=ignore) for cm in stack])[None]
    np.testing.assert_array_equal(got, want)


def test_metrics_of_detections_follow_the_same_rules():
    found = metrics.detection_counts(tp=[8, 0, 0, 0], fp=[2, 3, 0, 0], fn=[0, 0, 4, 0])
    np.testing.assert_allclose(metrics.precision(found), [0.8, 0, np.nan, np.nan])
    np.testing.assert_allclose(metrics.recall(found), [1, np.nan, 0, np.nan])
    np.testing.assert_allclose(metrics.f1(found), [16 / 18, 0, 0, np.nan])
    assert float(metrics.macro_precision(found)) == pytest.approx(0.8 / 3)
    assert float(metrics.macro_recall(found)) == pytest.approx(1 / 3)
    assert float(metrics.macro_f1(found)) == pytest.approx(16 / 54)
    assert float(metrics.macro_f1(found, ignore=1)) == pytest.approx(16 / 36)


@given(matrices)
def test_counts_of_a_matrix_give_the_matrix_metrics(stack):
    for metric in (metrics.f1, metrics.macro_f1, metrics.macro_precision, metrics.macro_recall):
        np.testing.assert_array_equal(metric(metrics.counts(stack)), metric(stack))


@pytest.mark.parametrize("metric", [metrics.iou, metrics.mean_iou, metrics.accuracy])
def test_detections_have_no_iou_and_no_accuracy(metric):
    with pytest.raises(SpecError, match="needs a confusion matrix, not the counts"):
        metric(metrics.detection_counts([1, 2, 3], [0, 0, 0], [0, 0, 0]))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: metrics.f1([[1, 2, 3], [4, 5, 6]]), r"\(2, 3\)"),
        (lambda: metrics.f1([1, 2]), r"\(2,\)"),
        (lambda: metrics.f1([[1, -1], [0, 1]]), "negative"),
        (lambda: metrics.f1(np.array([[1, np.nan], [0, 1]])), "non-finite"),
        (lambda: metrics.f1(np.eye(2), ignore=2), "ignore must be a class from 0 to 1, got 2"),
        (lambda: metrics.f1(np.eye(2), ignore=-1), "got -1"),
        (lambda: metrics.f1(metrics.detection_counts([1], [0], [0]), ignore=1), "got 1"),
        (lambda: metrics.detection_counts([1, 2], [1], [1, 2]), "the same shape"),
        (lambda: metrics.detection_counts(1, 1, 1), "the same shape"),
        (lambda: metrics.detection_counts([1], [-2], [0]), "fp must contain counts, got negative"),
    ],
)
def test_invalid_counts_raise(call, match):
    with pytest.raises(SpecError, match=match):
        call()


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
    assert metrics.unlabelled_id(names, null_class) == id_
