from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import LogNorm

from rvlab import plot
from rvlab.errors import SpecError, TableError

A = [[90, 10], [5, 15]]
B = [[50, 50], [0, 20]]


def long(*matrices, classes=("ground", "tree"), scene=pd.NA, group="validation"):
    return pd.DataFrame(
        [
            {"run": f"20261123-r{i}", "group": group, "scene": scene,
             "truth": t, "prediction": p, "count": m[a][b]}
            for i, m in enumerate(matrices)
            for a, t in enumerate(classes)
            for b, p in enumerate(classes)
        ]
    )  # fmt: skip


def panels(figure):
    return [ax for ax in figure.axes if ax.get_label() != "bar"]


def matrix(ax):
    return ax.collections[0].get_array()


def words(ax):
    return [t.get_text() for t in ax.texts]


def ticks(ax, which):
    return [t.get_text() for t in getattr(ax, f"get_{which}ticklabels")()]


def test_each_run_has_a_row_normalized_matrix_with_recall_on_the_diagonal():
    from sklearn.metrics import confusion_matrix

    truth, guess = (
        np.repeat([0, 0, 1, 1], [90, 10, 5, 15]),
        np.repeat([0, 1, 0, 1], [90, 10, 5, 15]),
    )
    table = long(A, B)
    before = table.copy()
    first, second = panels(plot.confusion(table))
    np.testing.assert_allclose(matrix(first), confusion_matrix(truth, guess, normalize="true"))
    np.testing.assert_allclose(matrix(second), [[0.5, 0.5], [0, 1]])
    assert words(second) == ["0.50", "0.50", "0", "1.00"]
    assert (first.get_title(loc="left"), second.get_title(loc="left")) == ("…r0", "…r1")
    assert ticks(first, "y") == ["ground", "tree"]
    assert ticks(second, "y") == ["", ""]
    assert ticks(second, "x") == ["ground", "tree"]
    assert (first.get_ylabel(), first.get_xlabel()) == ("truth", "prediction")
    pd.testing.assert_frame_equal(table, before)
    (by_column,) = panels(plot.confusion(long(A), normalize="prediction"))
    np.testing.assert_allclose(matrix(by_column), confusion_matrix(truth, guess, normalize="pred"))


def test_counts_use_a_log_color_scale_shared_by_all_runs():
    first, second = panels(plot.confusion(long(A, np.multiply(B, 1000)), normalize=None))
    np.testing.assert_array_equal(matrix(first), A)
    norms = [ax.collections[0].norm for ax in (first, second)]
    assert all(isinstance(norm, LogNorm) for norm in norms)
    assert norms[0].vmax == norms[1].vmax == 50000
    assert words(second) == ["50k", "50k", "0", "20k"]


def test_panels_are_in_the_order_of_the_table():
    table = long(A, A, B)
    order = pd.concat([table[table["run"] == run] for run in ("20261123-r2", "20261123-r0")])
    found = panels(plot.confusion(order))
    np.testing.assert_allclose(matrix(found[0]), [[0.5, 0.5], [0, 1]])
    assert [ax.get_title(loc="left") for ax in found] == ["…r2", "…r0"]


def test_difference_is_first_minus_second_run_with_colors_centred_at_zero():
    figure = plot.confusion(long(A, B), difference=True)
    (ax,) = panels(figure)
    np.testing.assert_allclose(matrix(ax), [[0.4, -0.4], [0.25, -0.25]])
    norm = ax.collections[0].norm
    assert norm.vmin == -norm.vmax
    assert words(ax) == ["+0.40", "−0.40", "+0.25", "−0.25"]
    assert ax.get_title(loc="left") == "…r0\nminus …r1"
    assert "difference" in figure.texts[0].get_text()
    with pytest.raises(SpecError, match=r"needs exactly two runs with .* got 3"):
        plot.confusion(long(A, A, B), difference=True)
    (same,) = panels(plot.confusion(long(A, A), difference=True))
    assert words(same) == ["0"] * 4


NULL = [[80, 10, 10], [0, 20, 0], [30, 10, 60]]


def test_null_row_is_grey_and_excluded_from_column_sums():
    table = long(NULL, classes=("ground", "tree", "null"))
    figure = plot.confusion(table)
    (ax,) = panels(figure)
    assert ticks(ax, "y")[2] == "null (unlabelled)"
    (band,) = [patch for patch in ax.patches if patch.get_gid() == "null"]
    assert (band.get_y(), band.get_width()) == (2, 3)
    np.testing.assert_allclose(matrix(ax)[0], [0.8, 0.1, 0.1])
    assert "without a label" in figure.texts[-1].get_text()
    (ax,) = panels(plot.confusion(table, normalize="prediction"))
    np.testing.assert_allclose(matrix(ax)[:2, :2], [[1, 1 / 3], [0, 2 / 3]])
    assert np.ma.getmaskarray(matrix(ax))[2].all()


def test_null_class_without_pixels_is_omitted():
    empty = [[80, 10, 0], [0, 20, 0], [0, 0, 0]]
    (ax,) = panels(plot.confusion(long(empty, classes=("ground", "tree", "null"))))
    assert ticks(ax, "y") == ["ground", "tree"]


def test_class_without_truth_pixels_has_nan_row():
    (ax,) = panels(plot.confusion(long([[10, 0], [0, 0]])))
    assert np.ma.getmaskarray(matrix(ax)).tolist() == [[False, False], [True, True]]


def test_classes_missing_from_a_run_are_hatched():
    table = pd.concat([long(A), long(B, classes=("road", "tree")).assign(run="20261123-r9")])
    first, second = panels(plot.confusion(table))
    assert np.ma.getmaskarray(matrix(first))[2].all()
    assert np.ma.getmaskarray(matrix(second))[0].all()


def test_many_runs_wrap_into_even_rows_within_the_figure():
    figure = plot.confusion(long(*[A] * 14))
    rows = {}
    for ax in panels(figure):
        rows.setdefault(round(ax.get_position().y0, 4), []).append(ax)
    assert [len(row) for row in rows.values()] == [7, 7]
    assert figure.get_figwidth() <= 12
    figure.canvas.draw()
    boxes = [ax.get_tightbbox() for ax in panels(figure)]
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_many_classes_get_a_color_bar_instead_of_numbers():
    names = [f"class {i}" for i in range(20)]
    figure = plot.confusion(long(np.eye(20, dtype=int), classes=names))
    assert not words(panels(figure)[0])
    assert len(figure.axes) == 2


@pytest.mark.parametrize("difference", [False, True])
def test_color_bar_tick_labels_are_inside_the_figure(difference):
    rng = np.random.default_rng(0)
    many = [chr(97 + i) for i in range(14)]
    made = [(rng.poisson(90, (14, 14)) + np.diag(rng.poisson(k, 14))) for k in (3000, 3400)]
    table = long(*made, classes=many)
    figure = plot.confusion(table, difference=difference)
    figure.canvas.draw()
    assert figure.get_tightbbox().x1 <= figure.get_figwidth()


def test_scene_argument_selects_one_scene():
    table = pd.concat([long(A), long(B, scene="s")])
    np.testing.assert_allclose(matrix(panels(plot.confusion(table))[0])[0], [0.9, 0.1])
    np.testing.assert_allclose(matrix(panels(plot.confusion(table, scene="s"))[0])[0], [0.5, 0.5])


def test_invalid_arguments_raise_errors_with_suggestions():
    table = long(A, B)
    with pytest.raises(SpecError, match=r"normalize cannot be 'true'. Did you mean 'truth'"):
        plot.confusion(table, normalize="true")
    with pytest.raises(TableError, match=r"the group 'tests'. There are 'validation'"):
        plot.confusion(table, group="tests")
    with pytest.raises(TableError, match=r"validation has no scene 's'"):
        plot.confusion(table, scene="s")
    with pytest.raises(TableError, match=r"table of confusion has no column 'truth'"):
        plot.confusion(table.drop(columns="truth"))
    with pytest.raises(TableError, match="two counts for one cell"):
        plot.confusion(pd.concat([table, table]))


def test_empty_table_draws_a_note():
    figure = plot.confusion(long(A).head(0))
    assert "the table is empty" in figure.axes[0].texts[0].get_text()
