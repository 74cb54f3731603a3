"""Metrics of predictions, computed from confusion matrices or counts.

A confusion matrix has rows = truth and columns = prediction, as in Raster Vision and scikit-learn.
Every metric works on the last axes and preserves the leading ones, so a stack of matrices of
shape ``(..., K, K)`` (one per scene, per bootstrap sample, …) takes one call:

    precision, recall, f1, iou                            -> (..., K), NaN where undefined
    macro_precision, macro_recall, macro_f1, mean_iou     -> (...)
    accuracy                                              -> (...)

A macro average is the mean over the classes that **occur**, in truth or in prediction. A class that
occurs without a true positive counts as 0, even if its own precision (never predicted) or recall
(not in the truth) is undefined. These are scikit-learn's default labels and ``zero_division=0``, so
the numbers agree with ``f1_score(truth, prediction, average="macro")``.

**Why not Raster Vision's own average.** The ``average`` of its ``eval.json`` weights each class by
its number of truth pixels and counts undefined as 0. Take 90 % background, 8 % buildings, 2 % roads
and a model that predicts background everywhere. Its F1 is 2·0.9/1.9 = 0.947 for background and 0
for the others. Raster Vision reports 0.9·0.947 = **0.853** as average F1 and 0.900 as average
recall; the macro F1 is 0.947/3 = **0.316**, the macro recall 0.333, the mean IoU 0.300. The model
has learnt nothing, which only the macro averages and the mean IoU show.

**Unlabelled pixels.** Raster Vision adds a class named ``null`` to a semantic segmentation for
them. With ``ignore`` set to its index, pixels whose *truth* is that class are left out. A labelled
pixel that is *predicted* as ``null`` is a false negative of its true class, but ``null`` is not a
class of its own: its entries are NaN and no macro average includes it.

Sources: Sokolova and Lapalme, "A systematic analysis of performance measures for classification
tasks", Information Processing & Management 45 (2009), tables 2 and 3, for precision, recall, F and
the macro averages; Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", IJCV 88
(2010), for IoU; scikit-learn's user guide, "Metrics and scoring", for the conventions. Sokolova
and Lapalme's macro F1 is the F of macro precision and macro recall; here it is the mean of the F1
of the classes, as in scikit-learn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rvlab.errors import SpecError

Floats = NDArray[np.float64]


class Counts(NamedTuple):
    """True positives, false positives and false negatives of each class.

    `counts` and `detection_counts` return them.

    Attributes:
        tp: True positives, shape ``(..., K)``.
        fp: False positives: predicted as the class, but of another class or of none.
        fn: False negatives: of the class, but predicted as another class or not at all.
    """

    tp: Floats
    fp: Floats
    fn: Floats


NULL_CLASS = "null"
"""The class that Raster Vision adds for pixels without a label, unless null_class names another."""


def confusion_matrix(
    truth: NDArray[np.integer],
    prediction: NDArray[np.integer],
    number: int,
    inside: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Count pixels as Raster Vision does, shape (number, number), rows = truth.

    Args:
        truth: Class ids of the labels, shape (rows, columns).
        prediction: Class ids of the prediction, same shape.
        number: Number of classes; pixels with an id of `number` or more are ignored.
        inside: Mask of the pixels to count; None counts all.
    """
    known = (truth < number) & (prediction < number)
    if inside is not None:
        known &= inside
    if number <= 16:  # pairs fit into a byte
        codes = np.asarray(truth * number + prediction, np.uint8)
        occurrences = count_values(codes if known.all() else codes[known])
        return occurrences[: number * number].reshape(number, number)
    pairs = truth[known].astype(np.int64) * number + prediction[known]
    return np.bincount(pairs, minlength=number * number).reshape(number, number)


def count_values(ids: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count the occurrences of each value from 0 to 255."""
    from PIL import Image

    if not ids.size:
        return np.zeros(256, np.int64)
    # np.bincount takes twice the time and eight times the memory.
    return np.array(Image.fromarray(np.atleast_2d(ids)).histogram(), np.int64)


def counts(of: ArrayLike | Counts, *, ignore: int | None = None) -> Counts:
    """Count the true positives, false positives and false negatives of each class.

    Args:
        of: A confusion matrix of counts, not fractions, ``(..., K, K)``, rows = truth; or `Counts`.
        ignore: Index of the class of unlabelled pixels; see the module. Its own counts are 0.

    Returns:
        Counts of shape ``(..., K)``; ``tp + fn`` are the labelled pixels of a class.

    Raises:
        SpecError: If the matrix is not square, has negative or non-finite entries, or ``ignore``
            is not one of its classes.
    """
    if isinstance(of, Counts):
        if ignore is None:
            return of
        _check_class(ignore, of.tp.shape[-1])
        return Counts(*(np.where(np.arange(a.shape[-1]) == ignore, 0.0, a) for a in of))
    matrix = drop_unlabelled(of, ignore)
    tp = np.diagonal(matrix, axis1=-2, axis2=-1).copy()
    fp = matrix.sum(axis=-2) - tp
    fn = matrix.sum(axis=-1) - tp
    if ignore is not None:
        fp[..., ignore] = 0
    return Counts(tp, fp, fn)


def detection_counts(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike) -> Counts:
    """Return the counts of an object detection, which has no confusion matrix.

    Precision, recall, F1 and their macro averages accept them in place of a matrix. IoU and
    accuracy need a confusion matrix: a detection has no true negatives, and its IoU is the overlap
    of two boxes.

    Args:
        tp: Predicted boxes that match a true box, shape ``(..., K)``.
        fp: Predicted boxes that match no true box of their class, same shape.
        fn: True boxes that no predicted box matches, same shape.

    Raises:
        SpecError: If the shapes differ, or an array has negative or non-finite entries.
    """
    arrays = [_require_counts(a, name) for a, name in ((tp, "tp"), (fp, "fp"), (fn, "fn"))]
    shapes = [a.shape for a in arrays]
    if len(set(shapes)) > 1 or not shapes[0]:
        raise SpecError(f"tp, fp and fn must have the same shape (..., K), got {shapes}.")
    return Counts(*arrays)


def drop_unlabelled(cm: ArrayLike, ignore: int | None) -> Floats:
    """Return a confusion matrix without the unlabelled pixels.

    Arguments and errors as `counts`; with ``ignore=None`` every pixel has a label.

    Returns:
        A float copy of the same shape, so that class indices do not change, in which the row of
        ``ignore`` is 0. Its column is not changed: labelled pixels predicted as unlabelled are
        errors.
    """
    matrix = _require_counts(cm, "cm")
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
        raise SpecError(f"A confusion matrix must have shape (..., K, K), got {matrix.shape}.")
    if ignore is not None:
        _check_class(ignore, matrix.shape[-1])
        matrix[..., ignore, :] = 0
    return matrix


def precision(of: ArrayLike | Counts, *, ignore: int | None = None) -> Floats:
    """Return the share of the predictions of a class that are true: ``tp / (tp + fp)``.

    Args:
        of: A confusion matrix ``(..., K, K)``, rows = truth, or `Counts`.
        ignore: Index of the class of unlabelled pixels; see the module.

    Returns:
        Shape ``(..., K)``; NaN for a class that is never predicted.

    Raises:
        SpecError: As `counts`.
    """
    tp, fp, _ = counts(of, ignore=ignore)
    return ratio(tp, tp + fp)


def recall(of: ArrayLike | Counts, *, ignore: int | None = None) -> Floats:
    """Return the share of the truth of a class that is predicted as it: ``tp / (tp + fn)``.

    Arguments and errors as `precision`; shape ``(..., K)``, NaN for a class absent from the truth.
    """
    tp, _, fn = counts(of, ignore=ignore)
    return ratio(tp, tp + fn)


def f1(of: ArrayLike | Counts, *, ignore: int | None = None) -> Floats:
    """Return the harmonic mean of precision and recall: ``2 tp / (2 tp + fp + fn)``.

    This form is defined for every class that occurs: it is 0 for a class that is in the truth and
    never predicted, for which Raster Vision's ``2 P R / (P + R)`` is NaN. Arguments and errors as
    `precision`; shape ``(..., K)``, NaN for a class neither in the truth nor predicted.
    """
    tp, fp, fn = counts(of, ignore=ignore)
    return ratio(2 * tp, 2 * tp + fp + fn)


def iou(cm: ArrayLike, *, ignore: int | None = None) -> Floats:
    """Return the intersection over union, or Jaccard index: ``tp / (tp + fp + fn)``.

    Arguments and errors as `precision`, but `Counts` raise SpecError; shape ``(..., K)``, NaN for
    a class neither in the truth nor predicted.
    """
    tp, fp, fn = counts(_require_matrix(cm, "IoU"), ignore=ignore)
    return ratio(tp, tp + fp + fn)


def macro_precision(of: ArrayLike | Counts, *, ignore: int | None = None) -> Floats:
    """Return the mean precision of the classes that occur.

    A class that is never predicted counts as 0.

    Arguments and errors as `precision`; shape ``(...)``, NaN where no class occurs.
    """
    class_counts = counts(of, ignore=ignore)
    return _macro(precision(class_counts), class_counts)


def macro_recall(of: ArrayLike | Counts, *, ignore: int | None = None) -> Floats:
    """Return the mean recall of the classes that occur.

    A class that is absent from the truth counts as 0.

    Arguments and errors as `precision`; shape ``(...)``, NaN where no class occurs.
    """
    class_counts = counts(of, ignore=ignore)
    return _macro(recall(class_counts), class_counts)


def macro_f1(of: ArrayLike | Counts, *, ignore: int | None = None) -> Floats:
    """Return the unweighted mean F1 of the classes that occur.

    Arguments and errors as `precision`; shape ``(...)``, NaN where no class occurs.
    """
    class_counts = counts(of, ignore=ignore)
    return _macro(f1(class_counts), class_counts)


def mean_iou(cm: ArrayLike, *, ignore: int | None = None) -> Floats:
    """Return the unweighted mean IoU of the classes that occur.

    Arguments and errors as `iou`; shape ``(...)``, NaN where no class occurs.
    """
    return _macro(iou(cm, ignore=ignore), counts(cm, ignore=ignore))


def boundary_iou(of: Counts) -> Floats:
    """Return the IoU of the pixels of each class near its contours: ``tp / (tp + fp + fn)``.

    Cheng et al., "Boundary IoU: Improving object-centric image segmentation evaluation", CVPR 2021.

    Args:
        of: Counts of pixels near contours: ``tp`` of pixels that are near the contour of the class
            in the truth and in the prediction, ``fn`` only in the truth, ``fp`` only in the
            prediction.

    Returns:
        Shape ``(..., K)``; NaN for a class neither in the truth nor predicted.
    """
    return ratio(of.tp, of.tp + of.fp + of.fn)


def mean_boundary_iou(of: Counts) -> Floats:
    """Return the unweighted mean boundary IoU of the classes that occur.

    Arguments as `boundary_iou`; shape ``(...)``, NaN where no class occurs.
    """
    return _macro(boundary_iou(of), of)


def accuracy(cm: ArrayLike, *, ignore: int | None = None) -> Floats:
    """Return the share of the labelled pixels that are predicted correctly.

    Arguments and errors as `iou`; shape ``(...)``, NaN where no pixel is labelled.
    """
    matrix = drop_unlabelled(_require_matrix(cm, "accuracy"), ignore)
    return ratio(np.trace(matrix, axis1=-2, axis2=-1), matrix.sum(axis=(-2, -1)))


def none_if_nan(value: float | None) -> float | None:
    """Return a number as records and tables have it: None if it is missing or undefined."""
    return None if value is None or math.isnan(value) else float(value)


def _macro(values: Floats, class_counts: Counts) -> Floats:
    occurs = (class_counts.tp + class_counts.fp + class_counts.fn) > 0
    return ratio(np.nan_to_num(values).sum(axis=-1), occurs.sum(axis=-1))


def ratio(part: ArrayLike, whole: ArrayLike) -> Floats:
    """Return the quotients of arrays of the same shape; NaN where the divisor is not positive."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    out = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=out, where=whole > 0)
    return out


def _require_matrix(cm: ArrayLike | Counts, metric: str) -> ArrayLike:
    # The three count vectors of three classes would be accepted as a 3 x 3 matrix.
    if isinstance(cm, Counts):
        raise SpecError(f"{metric} needs a confusion matrix, not the counts of a detection.")
    return cm


def _require_counts(values: ArrayLike, name: str) -> Floats:
    array = np.array(values, dtype=np.float64)
    if not np.isfinite(array).all() or (array < 0).any():
        raise SpecError(f"{name} must contain counts, got negative or non-finite entries.")
    return array


def _check_class(ignore: int, classes: int) -> None:
    if not 0 <= ignore < classes:
        raise SpecError(f"ignore must be a class from 0 to {classes - 1}, got {ignore}.")


def unlabelled_id(names: Sequence[str], null_class: str | None) -> int | None:
    """Return the id of the class of unlabelled pixels, which no metric counts.

    This is the null class if it has Raster Vision's default name. A null class with another name,
    such as ``background``, is an ordinary class.

    Args:
        names: The class names, in the order of their ids.
        null_class: The null class of the config; None if the config has none.

    Returns:
        The position of ``null`` in `names`; None if every class counts.
    """
    if null_class not in (None, NULL_CLASS) or NULL_CLASS not in names:
        return None
    return list(names).index(NULL_CLASS)
