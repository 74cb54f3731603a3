"""Registration of training runs of Lightning from the files of its loggers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from torch.utils.tensorboard.summary import custom_scalars

from rvlab import Lab, plot
from rvlab.errors import NotFound, RasterError, RecordBroken, SpecError

HPARAMS = """\
model: unet
lr: 0.001
betas: !!python/tuple [0.9, 0.999]
loss: !!python/name:torch.nn.modules.loss.CrossEntropyLoss ''
optimizer: &one
  name: adam
  decay: .nan
again: *one
args: !!python/object:argparse.Namespace {seed: 3, when: 2026-01-01}
evil: !!python/object/apply:os.system ["touch {}"]
weights: !!python/object/apply:torch._utils._rebuild_tensor_v2
- !!python/object/apply:torch.storage._load_from_bytes
  - !!binary |
    gAKKCmz8nEb5IGqoUBku
- !!python/tuple
  - 3
"""

METRICS = """\
epoch,lr-Adam,step,train_loss,val/f1,run
,0.01,0,,,
0,,1,1.5,,
0,,3,1.25,,
0,,3,,0.4,7
,0.001,4,,,
1,,7,0.75,,
1,,7,,nan,
1,,9"""


def write_log(folder: Path, hparams: str = HPARAMS, metrics: str = METRICS) -> Path:
    """Write the log folder that a CSVLogger leaves, with a checkpoint."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "hparams.yaml").write_text(hparams.replace("{}", str(folder / "evil")))
    (folder / "metrics.csv").write_text(metrics)
    (folder / "checkpoints/epoch=1-step=8.ckpt").write_bytes(b"not a pickle")
    os.utime(folder / "hparams.yaml", (86_400, 86_400))
    return folder


def write_events(folder: Path, values: dict[str, list[float]]) -> Path:
    """Write scalars as TensorBoardLogger does, two steps per epoch."""
    writer = EventFileWriter(str(folder))
    for name, points in values.items():
        for i, value in enumerate(points):
            known = [Summary.Value(tag=name, simple_value=value)]
            known += [Summary.Value(tag="epoch", simple_value=i // 2)]
            event = Event(wall_time=86_400.0 + i, step=10 * i, summary=Summary(value=known))
            writer.add_event(event)
    writer.add_event(Event(summary=custom_scalars({"a": {"b": ["Multiline", [*values]]}})))
    writer.close()
    return folder


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "lab")


def test_run_of_lightning_has_parameters_history_and_files(lab: Lab, tmp_path: Path) -> None:
    folder = write_log(tmp_path / "unet/lightning_logs/version_0")
    (run,) = lab.adopt(tmp_path, params={"sensor": "S2"})
    row = lab.runs().loc[run.id]
    assert row[["name", "recipe", "state", "engine", "epochs"]].tolist() == [
        "version_0", "lightning", "succeeded", "adopted", 2,
    ]  # fmt: skip
    assert str(row["started"]) == "1970-01-02 00:00:00+00:00"
    assert row["ended"].timestamp() == int((folder / "metrics.csv").stat().st_mtime)
    params = lab.store.get_json(run.key("spec.json"))["params"]
    assert {name: params[name] for name in params if name not in ("evil", "weights")} == {
        "model": "unet",
        "lr": 0.001,
        "betas": [0.9, 0.999],
        "loss": "torch.nn.modules.loss.CrossEntropyLoss",
        "optimizer.name": "adam",
        "optimizer.decay": "nan",
        "again.name": "adam",
        "again.decay": "nan",
        "args.seed": 3,
        "args.when": "2026-01-01",
        "sensor": "S2",
    }
    assert params["evil"] == f"os.system(touch {folder / 'evil'})"
    assert params["weights"] == "torch._utils._rebuild_tensor_v2"
    assert not (folder / "evil").exists()

    history = lab.history(run)
    assert history["epoch"].tolist() == [0, 1]
    assert history["step"].tolist() == [3, 7]
    assert history["train_loss"].tolist() == [1.25, 0.75]
    assert history["lr-Adam"].tolist() == [0.01, 0.001]
    assert history["val/f1"].fillna(-1).tolist() == [0.4, -1]
    assert history["metric.run"].fillna(-1).tolist() == [7, -1]
    assert row["metrics.train_loss"] == 0.75
    assert row["metrics.val/f1"] == 0.4
    assert plot.curves(lab.runs(), y=["train_loss", "val/f1"])

    files = lab.artifacts(run).set_index("kind")["uri"]
    assert files["weights"] == f"{folder}/checkpoints/epoch=1-step=8.ckpt"
    assert files.index.tolist() == ["weights", "config", "history"]
    assert lab.evals(run).empty
    with pytest.raises(RasterError, match=r"has no predictions: it was adopted from .*version_0"):
        plot.predictions(lab.runs())
    assert lab.adopt(folder / "hparams.yaml", params={"sensor": "S2"}) == [run]
    assert lab.adopt(folder, params=lambda hparams: {"seed": hparams["args"]["seed"]}) == [run]


def test_each_version_below_a_folder_is_a_run(lab: Lab, tmp_path: Path) -> None:
    for i in range(2):
        write_log(tmp_path / f"logs/unet/version_{i}", hparams=f"lr: {i}\n")
    events = write_events(tmp_path / "logs/tb/version_0", {"val_loss": [4, 3, 2, 1]})
    write_events(events / "hp", {"hp_metric": [-1]})  # a folder of the run above
    write_log(tmp_path / "logs/broken/version_0", hparams="- 1\n")
    write_log(tmp_path / "logs/other/version_0", metrics="a,b\n1,2\n")
    (tmp_path / "logs/rv/train/tb").mkdir(parents=True)
    (tmp_path / "logs/rv/pipeline-config.json").write_text("{}")  # its event files are its own
    write_events(tmp_path / "logs/rv/train/tb", {"loss": [1]})
    with pytest.warns(UserWarning, match="This folder is left out") as warned:
        runs = lab.adopt(tmp_path / "logs")
    texts = sorted(str(one.message) for one in warned)
    assert [text.partition(": ")[0].rpartition("/logs/")[2] for text in texts] == [
        "broken/version_0", "other/version_0", "rv/pipeline-config.json is not a pipeline config of"
        " Raster Vision",
    ]  # fmt: skip
    assert "has list, not names and values" in texts[0]
    assert "has no column epoch or step, so Lightning did not write it" in texts[1]
    table = lab.runs(runs)
    assert sorted(table["name"]) == ["tb/version_0", "unet/version_0", "unet/version_1"]
    assert sorted(table["params.lr"].dropna()) == [0, 1]
    tb = table.query("name == 'tb/version_0'")
    history = lab.history(tb)
    assert history[["epoch", "step", "val_loss"]].values.tolist() == [[0, 10, 3], [1, 30, 1]]
    assert str(tb["started"].iloc[0]) == "1970-01-02 00:00:00+00:00"
    assert lab.artifacts(tb)["kind"].tolist() == ["tensorboard", "tensorboard"]


@pytest.mark.parametrize(
    ("hparams", "metrics", "message"),
    [
        ("a: [", METRICS, "hparams.yaml is not valid YAML: while parsing"),
        ("a: &a [*a]", METRICS, "hparams.yaml is not valid YAML|has 5,001 values"),
        (
            "a0: &a0 [1]\n" + "\n".join(f"a{i + 1}: &a{i + 1} [*a{i}, *a{i}]" for i in range(40)),
            METRICS,
            "hparams.yaml has 5,001 values; more than 5,000 are not read",
        ),
        (
            "a0: &a0 [1]\n"
            + "\n".join(f"a{i + 1}: &a{i + 1} [*a{i}, *a{i}]" for i in range(40))
            + "\nevil: !!python/object/apply:f [*a40]",
            METRICS,
            "hparams.yaml has 5,001 values",
        ),
        ("a: 1", "epoch,loss\n0,1\n1,x\n", "metrics.csv, row 2, is invalid: could not convert"),
        ("a: 1", "epoch,loss\n0,1,2\n", "metrics.csv, row 1, is invalid: it has more fields"),
        ("a: 1", "epoch,loss,loss\n0,1,2\n", "metrics.csv has a column twice"),
    ],
)  # fmt: skip
def test_invalid_log_is_one_sentence(
    lab: Lab, tmp_path: Path, hparams: str, metrics: str, message: str
) -> None:
    folder = write_log(tmp_path / "version_0", hparams=hparams, metrics=metrics)
    with pytest.raises(RecordBroken, match=message):
        lab.adopt(folder)
    assert lab.runs().empty


def test_log_without_epochs_or_values(lab: Lab, tmp_path: Path) -> None:
    write_log(tmp_path / "a", metrics="step,loss\n5,1\n9,0.5\n")
    write_log(tmp_path / "b", hparams="", metrics="epoch,loss\n")
    write_log(tmp_path / "c", metrics="epoch,step,loss\nnan,0,1\ninf,1,1\n")
    runs = lab.adopt(tmp_path)
    assert len(runs) == 3
    runs = [run for run in runs if lab.runs(run)["name"].item() != "c"]
    history = lab.history(runs)
    assert history[["name", "epoch", "loss"]].values.tolist() == [["a", 5, 1], ["a", 9, 0.5]]
    assert set(lab.runs().query("name == 'b'").filter(like="metrics.").dropna(axis=1)) == set()


def test_predictions_belong_to_one_log(lab: Lab, tmp_path: Path) -> None:
    for i in range(2):
        write_log(tmp_path / f"version_{i}")
    some = {"predictions": ["p.tif"], "truth": ["t.tif"], "classes": ["a"]}
    with pytest.raises(SpecError, match=r"has 2 runs of Lightning, such as .*version_0.*Name one"):
        lab.adopt(tmp_path, **some)
    with pytest.raises(SpecError, match="/none has no runs of Lightning"):
        lab.adopt(tmp_path / "none", **some)
    (tmp_path / "pipeline-config.json").write_text("{}")
    with pytest.raises(SpecError, match="has outputs of Raster Vision, which include predictions"):
        lab.adopt(tmp_path, **some)
    with pytest.raises(SpecError, match="truth is about predictions; give predictions as well"):
        lab.adopt(tmp_path, truth=["t.tif"])
    with pytest.raises(SpecError, match="adopt needs a folder, or predictions and truth"):
        lab.adopt()
    with pytest.raises(NotFound, match=r"Neither Raster Vision's pipeline-config.json nor hparams"):
        lab.adopt(tmp_path / "version_0/checkpoints")
