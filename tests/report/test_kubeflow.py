"""Outputs of the pipeline's last step, with real kfp artifacts and trained runs."""

from __future__ import annotations

import base64
import io
import json
import math
import subprocess
import sys
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import pyarrow.parquet as pq
import pytest
from google.protobuf import json_format, struct_pb2
from kfp import dsl
from matplotlib.figure import Figure
from PIL import Image

from rvlab.errors import SpecError
from rvlab.model import Run
from rvlab.model.tables import CONFUSION_TABLE, EVALS_TABLE
from rvlab.report import pictures
from rvlab.report.kubeflow import emit
from rvlab.report.markdown import markdown
from rvlab.report.page import render_page
from rvlab.report.render import escape_markdown
from rvlab.report.run_summary import load_run_summary, shorten_text
from rvlab.store import Store
from rvlab.store.table_file import arrow_schema
from rvlab.worker.results import evaluation_tables
from tests.conftest import Trained

HOSTILE = '<script>alert("1")</script> | `x` **b** [a](http://evil.example)\n# head'
VOID = {"meta", "img"}


@dataclass
class Outputs:
    """The step's artifacts and their contents."""

    metrics: dsl.Metrics
    confusion: dsl.ClassificationMetrics
    report: dsl.Markdown
    predictions: dsl.HTML

    @property
    def markdown(self) -> str:
        return Path(self.report.path).read_text(encoding="utf-8")

    @property
    def html(self) -> str:
        return Path(self.predictions.path).read_text(encoding="utf-8")


class Tags(HTMLParser):
    """A parser that collects tags with their attributes, text and unclosed tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.open = "", list[str]()
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def images(self) -> list[Image.Image]:
        """Decode the embedded pictures."""
        out: list[Image.Image] = []
        for tag, attributes in self.tags:
            if tag == "img":
                kind, data = str(attributes["src"]).split(",", 1)
                assert kind == "data:image/png;base64"
                out.append(Image.open(io.BytesIO(base64.b64decode(data, validate=True))))
        return out


def emitted(uri: str, folder: Path) -> Outputs:
    out = Outputs(
        dsl.Metrics(name="metrics", uri=str(folder / "a/metrics")),
        dsl.ClassificationMetrics(name="confusion", uri=str(folder / "a/confusion")),
        dsl.Markdown(name="report", uri=str(folder / "a/report")),
        dsl.HTML(name="predictions", uri=str(folder / "a/predictions")),
    )
    item = json.dumps({"run": uri, "split": 0})
    emit(item, out.metrics, out.confusion, out.report, out.predictions)
    return out


@pytest.fixture(scope="module")
def first(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    return emitted(trained.runs["first"].uri, tmp_path_factory.mktemp("first"))


@dataclass
class Copy:
    """A copy of a run's records in a local folder, for tests that change them."""

    store: Store
    run: Run

    def change(self, *key: str, old: str, new: str) -> None:
        """Replace text in a record."""
        text = self.store.get(self.run.key(*key)).decode()
        assert old in text
        self.store.put(self.run.key(*key), text.replace(old, new).encode())

    def record(self, **changes: Any) -> None:
        """Replace fields of the end record."""
        end = self.store.get_json(self.run.end_key)
        self.store.put_json(self.run.end_key, {**end, **changes})

    def table(self, name: str, rows: pd.DataFrame) -> None:
        """Replace a table."""
        data = io.BytesIO()
        rows.to_parquet(data)
        self.store.put(self.run.key("tables", f"{name}.parquet"), data.getvalue())

    def read(self, name: str) -> pd.DataFrame:
        """Read a table of the copy."""
        data = self.store.get(self.run.key("tables", f"{name}.parquet"))
        return pq.read_table(io.BytesIO(data)).to_pandas()


@pytest.fixture
def copy(trained: Trained, tmp_path: Path) -> Copy:
    run, store = trained.runs["first"], Store(tmp_path / "copy")
    for key in [run.end_key, *(key for key, _ in trained.lab.store.files(run.prefix))]:
        store.put(key, trained.lab.store.get(key))
    return Copy(store, Run(store.uri, run.experiment, run.id))


def test_kubeflow_metrics_equal_those_of_the_table_of_runs(
    trained: Trained, first: Outputs
) -> None:
    row = trained.row("first")
    shown = row[[c for c in row.index if c.startswith("metrics.")]].dropna()
    wanted = {name.removeprefix("metrics."): value for name, value in shown.items()}
    costs = {name: row[f"costs.{name}"] for name in ("train_s", "peak_mb")}
    assert first.metrics.metadata == {**wanted, **costs}
    assert {"f1", "mean_iou", "f1.building", "test.f1"} <= set(wanted)


def test_artifact_metadata_is_valid_json_and_protobuf(first: Outputs) -> None:
    for artifact in (first.metrics, first.confusion):
        json.dumps(artifact.metadata, allow_nan=False)
        json_format.ParseDict(artifact.metadata, struct_pb2.Struct())


def test_confusion_matrix_has_truth_in_rows(trained: Trained, first: Outputs) -> None:
    found = first.confusion.metadata["confusionMatrix"]
    names = [one["displayName"] for one in found["annotationSpecs"]]
    assert names == ["background", "building", "road"]
    table = trained.lab.confusion(trained.runs["first"])
    overall = table[(table["group"] == "validation") & table["scene"].isna()]
    wide = overall.pivot(index="truth", columns="prediction", values="count")
    rows = [one["row"] for one in found["rows"]]
    assert rows == wide.loc[names, names].to_numpy().tolist()
    assert rows != [list(column) for column in zip(*rows, strict=True)]
    evals = trained.lab.evals(trained.runs["first"])
    overall = evals[(evals["group"] == "validation") & evals["scene"].isna()]
    support = overall[overall["metric"] == "truth_count"].set_index("class")["value"]
    assert [sum(row) for row in rows] == support[names].tolist()


def test_markdown_contains_the_tables(trained: Trained, first: Outputs) -> None:
    row, evals = trained.row("first"), trained.lab.evals(trained.runs["first"])
    assert f"| f1 | {row['metrics.f1']:.3f} |" in first.markdown
    assert f"eval\\_set {row['eval_set']}" in first.markdown
    assert "| epochs | 2 |" in first.markdown
    assert escape_markdown(trained.runs["first"].uri) in first.markdown
    overall = evals[(evals["group"] == "validation") & evals["scene"].isna()]
    of = overall[overall["class"] == "building"].set_index("metric")["value"]
    numbers = " | ".join(f"{of[m]:.3f}" for m in ("precision", "recall", "f1", "iou"))
    assert f"| building | {numbers} | {of['truth_count']:,.0f} |" in first.markdown
    for line in first.markdown.splitlines():
        assert line.count("|") in (0, 3, 7)


def test_lines_in_the_report_open_the_run(copy: Copy) -> None:
    names: dict[str, Any] = {}
    first, second = load_run_summary(copy.run).open_lines
    assert f"    {first}\n    {second}\n" in markdown(load_run_summary(copy.run))
    exec(first, names)  # noqa: S102  rvlab's own lines
    assert isinstance(eval(second, names), Figure)  # noqa: S307  rvlab's own lines


def test_page_is_self_contained(trained: Trained, first: Outputs) -> None:
    found = Tags(first.html)
    assert found.open == []
    assert not {"script", "link", "iframe", "object", "base", "form", "a"} & {
        t for t, _ in found.tags
    }
    for tag, attributes in found.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "href"]
        assert tag == "img" or "src" not in attributes
    assert "@import" not in first.html
    assert "url(" not in first.html
    assert len(first.html.encode()) < 3_000_000
    row = trained.row("first")
    for value in (row["metrics.f1"], row["metrics.mean_iou"], row["metrics.f1.road"]):
        assert f"{value:.3f}" in found.text


def test_page_shows_predictions_matrix_and_curves(first: Outputs) -> None:
    found = Tags(first.html)
    assert [image.format for image in found.images()] == ["PNG"] * 3
    grid, matrix, curves = found.images()
    assert grid.width > 1200
    words = [attributes["alt"] for tag, attributes in found.tags if tag == "img"]
    assert [str(word).split()[0] for word in words] == ["Image,", "Confusion", "Training"]
    for image in (grid, matrix, curves):
        colors = image.convert("RGB").resize((200, 200), Image.Resampling.NEAREST).getcolors(40_000)
        assert colors is not None
        assert len(colors) > 10  # the picture is not blank


def test_worst_scenes_are_first(trained: Trained) -> None:
    found = load_run_summary(trained.runs["first"])
    evals = trained.lab.evals(trained.runs["first"])
    part = evals[(evals["group"] == "validation") & evals["class"].isna()]
    f1 = part[(part["metric"] == "f1") & part["scene"].notna()].set_index("scene")["value"]
    assert len(f1) > 1
    assert [name for name, _ in found.scenes] == f1.sort_values().index.tolist()
    assert f"The 1 worst of the {len(f1)} scenes" in render_page(trained.runs["first"], scenes=1)


def test_page_accepts_a_run_its_uri_or_its_row(trained: Trained) -> None:
    run = trained.runs["no chips"]
    pages = {render_page(one) for one in (run, run.uri, trained.row("no chips"))}
    assert len(pages) == 1
    with pytest.raises(SpecError, match="must be one run, got 6"):
        render_page(trained.table)


def test_hostile_text_is_escaped(copy: Copy, tmp_path: Path) -> None:
    end = copy.store.get_json(copy.run.end_key)
    spec = {**end["spec"], "name": HOSTILE, "params": {"lr": HOSTILE, HOSTILE: ["<b>", 1]}}
    copy.record(spec=spec, error=HOSTILE, metrics={**end["metrics"], f"f1.{HOSTILE}": 0.5})
    evals, confusion = copy.read("evals"), copy.read("confusion")
    copy.table("evals", evals.replace({"class": {"road": HOSTILE}}))
    changed = confusion.replace({"truth": {"road": HOSTILE}, "prediction": {"road": HOSTILE}})
    copy.table("confusion", changed)
    out = emitted(copy.run.uri, tmp_path)
    found = Tags(out.html)
    assert "script" not in {tag for tag, _ in found.tags}
    assert "b" in {tag for tag, _ in found.tags}  # from the template
    assert found.text.count(HOSTILE) >= 5
    assert "<" not in out.markdown
    assert "`x`" not in out.markdown
    assert "http://" not in out.markdown
    assert "\n# head" not in out.markdown
    lines = [line for line in out.markdown.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in lines} == {3, 7}
    assert out.metrics.metadata[f"f1.{HOSTILE}"] == 0.5
    assert {"displayName": HOSTILE} in out.confusion.metadata["confusionMatrix"]["annotationSpecs"]


def test_unreadable_predictions_are_replaced_by_the_reason(
    copy: Copy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = copy.store.get_json(copy.run.key("rv", "pipeline-config.json"))
    for one in config["dataset"]["validation_scenes"]:
        one["raster_source"]["uris"] = [str(tmp_path / "missing" / f"{one['id']}.tif")]
        one["label_source"]["raster_source"]["uris"] = str(tmp_path / "missing.tif")
    copy.store.put_json(copy.run.key("rv", "pipeline-config.json"), config)
    for folder in (("rv", "predict"), ("copies",)):
        copy.store.delete([key for key, _ in copy.store.files(copy.run.key(*folder))])
    out = emitted(copy.run.uri, tmp_path)
    found = Tags(out.html)
    assert len(found.images()) == 2
    assert "The predictions could not be drawn: " in found.text
    assert f"{tmp_path}/missing" in found.text.replace(" ", "")
    assert "Traceback" not in capsys.readouterr().err  # the page says it
    assert out.metrics.metadata["f1"] > 0


def test_one_unreadable_prediction_does_not_hide_the_others(copy: Copy, tmp_path: Path) -> None:
    scene = load_run_summary(copy.run).scenes[0][0]
    for folder in (("rv", "predict"), ("copies",)):
        copy.store.delete([copy.run.key(*folder, scene, "labels.tif")])
    assert len(Tags(emitted(copy.run.uri, tmp_path).html).images()) == 3


def test_errors_of_pictures_are_reported_and_not_raised(
    copy: Copy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evals = copy.read("evals")  # with an unknown scene, and below a class like a formula
    copy.table("evals", evals.replace({"scene": {"validation-0": "lost"}}))
    broken = "$\\frac{$"
    confusion = copy.read("confusion")
    names = {"truth": {"road": broken}, "prediction": {"road": broken}}
    copy.table("confusion", confusion.replace(names))
    found = Tags(emitted(copy.run.uri, tmp_path).html)
    assert "could not be drawn: No run has a scene 'lost'." in found.text
    assert "The confusion matrix could not be drawn" not in found.text  # text is not markup
    assert len(found.images()) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_run_with_broken_records_has_outputs(copy: Copy, tmp_path: Path) -> None:
    copy.store.put(copy.run.end_key, b"no json")
    out = emitted(copy.run.uri, tmp_path)
    assert out.metrics.metadata == {}
    assert "broken" in out.markdown
    assert copy.run.end_key in Tags(out.html).text


def test_unreachable_store_is_reported_in_the_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuses(run: Run) -> None:
        raise ConnectionError(f"no answer from <{run.store}>")

    monkeypatch.setattr("rvlab.report.kubeflow.load_run_summary", refuses)
    out = emitted("s3://bucket/store/town/20261123-154201-4f2a9c", tmp_path)
    message = "The run could not be read: ConnectionError: no answer from <s3://bucket/store>"
    assert message in Tags(out.html).text
    assert escape_markdown(message) in out.markdown
    assert "Traceback" in capsys.readouterr().err


def test_report_of_a_run_without_evaluation(trained: Trained, tmp_path: Path) -> None:
    out = emitted(trained.runs["train fails"].uri, tmp_path)
    assert out.confusion.metadata == {}
    assert set(out.metrics.metadata) <= {"train_s", "peak_mb"}
    assert "This run was not evaluated." in out.markdown
    found = Tags(out.html)
    assert found.images() == []
    assert "No scene of this run was scored" in found.text
    assert str(trained.row("train fails")["error"]) in found.text


def test_report_of_an_object_detection_has_no_matrix(copy: Copy, tmp_path: Path) -> None:
    item = {"class_id": 0, "class_name": "tree", "true_pos": 6, "false_pos": 2, "false_neg": 4}
    average = {"class_name": "average", "metrics": {"f1": 0.6, "precision": 0.7, "recall": None}}
    raw = {"overall": [item, average], "per_scene": {"validation-0": [item, average]}}
    evals, confusion = evaluation_tables({"validation_scenes": raw}, {"names": ["tree"]})
    copy.table("evals", evals.cast(arrow_schema(EVALS_TABLE)).to_pandas())
    copy.table(
        "confusion",
        confusion.cast(arrow_schema(CONFUSION_TABLE)).to_pandas().astype({"group": "string"}),
    )
    copy.record(metrics={"f1": 2 / 3, "precision": 0.75, "rv_average_f1": None})
    out = emitted(copy.run.uri, tmp_path)
    assert out.confusion.metadata == {}
    assert {n: v for n, v in out.metrics.metadata.items() if n not in ("train_s", "peak_mb")} == {
        "f1": 2 / 3,
        "precision": 0.75,
    }
    assert "| tree | 0.750 | 0.600 | 0.667 | – | 10 |" in out.markdown
    assert "The evaluation of validation counted no confusion matrix." in Tags(out.html).text


def called_null(copy: Copy) -> None:
    """Rename the background of a run to null, like the class of unlabelled pixels."""
    names = {"background": "null"}
    copy.table("evals", copy.read("evals").replace({"class": names}))
    confusion = copy.read("confusion")
    copy.table("confusion", confusion.replace({"truth": names, "prediction": names}))


def test_user_class_named_null_is_in_the_matrix(copy: Copy) -> None:
    called_null(copy)
    found = load_run_summary(copy.run)
    assert found.matrix is not None
    assert found.matrix[0] == ["null", "building", "road"]
    assert found.predicted_as_null == 0


def test_unlabelled_pixels_are_not_in_the_matrix_and_their_false_negatives_are_reported(
    copy: Copy, tmp_path: Path
) -> None:
    called_null(copy)
    evals = copy.read("evals")  # the class of unlabelled pixels has counts but no metric
    only_counted = evals["metric"].isin(["truth_count", "prediction_count"])
    copy.table("evals", evals[(evals["class"] != "null") | only_counted])
    confusion = copy.read("confusion")
    overall = confusion[(confusion["group"] == "validation") & confusion["scene"].isna()]
    wide = overall.pivot(index="truth", columns="prediction", values="count")
    as_null = wide.loc[["building", "road"], "null"].sum()
    assert as_null > 0
    out = emitted(copy.run.uri, tmp_path)
    names = ["building", "road"]
    found = out.confusion.metadata["confusionMatrix"]
    assert [one["displayName"] for one in found["annotationSpecs"]] == names
    assert [one["row"] for one in found["rows"]] == wide.loc[names, names].to_numpy().tolist()
    assert f"{as_null:,} labelled pixels were predicted as `null`" in out.markdown
    assert f"{as_null:,} labelled pixels were predicted as null" in out.html
    assert "| null |" not in out.markdown


def test_pictures_do_not_change_matplotlib_settings(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(mpl.rcParams, "savefig.transparent", True)
    monkeypatch.setitem(mpl.rcParams, "savefig.dpi", 30)
    before, backend = dict(mpl.rcParams), mpl.get_backend()
    plt.close("all")
    html = render_page(trained.runs["no chips"])
    assert dict(mpl.rcParams) == before
    assert mpl.get_backend() == backend
    assert plt.get_fignums() == []
    assert Tags(html).images()[0].convert("RGBA").getpixel((0, 0)) == (255, 255, 255, 255)


def test_picture_resolution_is_reduced_to_the_size_limit(copy: Copy) -> None:
    fine = pictures.predictions_picture(load_run_summary(copy.run), scenes=2, most_bytes=10**7)
    assert fine.png is not None
    coarse = pictures.predictions_picture(
        load_run_summary(copy.run), scenes=2, most_bytes=len(fine.png) - 1
    )
    assert coarse.png is not None
    assert len(coarse.png) < len(fine.png)
    assert (coarse.width, coarse.height) == pytest.approx((fine.width, fine.height), abs=2)
    none = pictures.predictions_picture(load_run_summary(copy.run), scenes=2, most_bytes=1000)
    assert none.png is None
    assert none.words.startswith("The predictions would take more than")


def test_long_value_is_truncated() -> None:
    assert len(shorten_text(list(range(10_000)))) == 300
    assert shorten_text(math.nan) == shorten_text(None) == shorten_text(pd.NaT) == "–"
    assert shorten_text("") == '""'


def test_importing_report_does_not_import_kfp_or_matplotlib() -> None:
    heavy = "{'kfp', 'matplotlib', 'pandas'} & set(sys.modules)"
    code = f"import sys, rvlab.report.kubeflow; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
