"""Promoted models: versions, the gate, the current version, the STAC item and the model card."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import re
import shutil
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import torch
from pystac.extensions.file import FileExtension
from pystac.extensions.mlm import MLMExtension
from pystac.validation import validate_dict

from rvlab import Lab, compare
from rvlab.actions.completion import find_completions
from rvlab.actions.model_version import ModelVersion
from rvlab.cli import main
from rvlab.errors import GateNotPassed, KeyExists, NotFound, SpecError, StoreError
from rvlab.exchange.stac_item import stac_item
from rvlab.model import Run, new_run_id
from rvlab.model.overview_tables import MODEL_LOG_TABLE, MODELS_TABLE
from rvlab.model.promotion import VersionRecord, version_choice_key
from rvlab.report.model_card import model_card
from rvlab.store import S3Access, Store
from rvlab.store.model_versions import (
    create_version,
    list_model,
    read_version,
    read_version_choices,
    write_version_choice,
)
from rvlab.store.server import Server
from tests.conftest import Trained
from tests.frame.samples import Made
from tests.report.samples import SOURCE, make_towns
from tests.security.made import ALL, HOSTILE
from tests.test_lab_model import put_bundle, zip_of

MODEL = "vegas-buildings"
LEARNER = {
    "model": {"backbone": "resnet50", "pretrained": True, "init_weights": None},
    "data": {"img_channels": 3, "img_sz": 64},
}


def add_bundle(
    lab: Lab,
    run: Run,
    *,
    learner: dict[str, Any] = LEARNER,
    config: bytes | None = None,
    files: Mapping[str, bytes] = {},
) -> None:
    """Give a sample run a bundle without weights, by default with the config of the run."""
    inner = {"model.pth": b"", "learner-config.json": json.dumps(learner).encode(), **files}
    own = lab.store.get(run.key("rv/pipeline-config.json")) if config is None else config
    put_bundle(lab, run, zip_of({"model-bundle.zip": zip_of(inner), "pipeline-config.json": own}))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Run]]:
    """A store with four runs of eight scenes and bundles, from the best to the worst."""
    root = tmp_path_factory.mktemp("original")
    towns = make_towns(root, commit="c" * 40, image="registry/rvlab@sha256:" + "a" * 64)
    for run in towns.scored:
        add_bundle(Lab(towns.store), run)
    Lab(towns.store).objects(towns.scored)  # stored for all tests
    return root, towns.scored


@pytest.fixture
def lab(original: tuple[Path, list[Run]], tmp_path: Path) -> Lab:
    return Lab(Store(shutil.copytree(original[0], tmp_path / "store")))


@pytest.fixture
def runs(original: tuple[Path, list[Run]], lab: Lab) -> list[Run]:
    return [replace(run, store=lab.store.uri) for run in original[1]]


def test_versions_pass_the_gate_and_are_rolled_back(
    lab: Lab, runs: list[Run], capsys: pytest.CaptureFixture[str]
) -> None:
    best, second, worse, worst = runs
    assert lab.models().empty
    assert dict(lab.models().dtypes.astype(str)) == {
        k: str(v) for k, v in MODELS_TABLE.dtypes.items()
    }

    first = lab.promote(worst, MODEL, note="Buildings of Las Vegas.", license="apache-2.0")
    assert repr(first) == "ModelVersion('vegas-buildings:1')"
    assert (first.run, first.record.gate, first.record.baseline) == (worst, "first version", None)
    bundle = lab.store.get(worst.key("rv/bundle/model-bundle.zip"))
    with lab.open(first.bundle_uri) as file:
        assert file.read() == bundle
    assert first.record.bundle_sha256 == hashlib.sha256(bundle).hexdigest()

    second_version = lab.promote(best, MODEL)
    found = compare.gate(best, worst)
    record = second_version.record
    assert (record.version, record.gate, found.verdict) == (2, "passes", "passes")
    assert f"{found.test.value_a:.3f} against {found.test.value_b:.3f}" in record.gate_sentence
    assert (record.baseline, record.baseline_version) == (worst.id, 1)

    with pytest.raises(
        GateNotPassed, match=rf"{worse.id} was not promoted to '{MODEL}'"
    ) as refused:
        lab.promote(worse, MODEL)
    assert refused.value.verdict == "fails"
    assert re.search(r"macro F1 0\.\d{3} against 0\.\d{3}, a difference of -0", str(refused.value))
    assert f"version 2 (run {best.id})" in str(refused.value)
    assert "Pass margin= for a loss that does not matter, or override='reason'" in str(
        refused.value
    )
    assert [one.version for one in (first, second_version)] == [*lab.models(MODEL)["version"]][::-1]
    lab.promote(worse, MODEL, override="the other one is slow")
    assert main(["--store", lab.store.uri, "promote", second.id, MODEL]) == 0
    assert capsys.readouterr().out.startswith("vegas-buildings:4: passes. The candidate passes")

    store = ["--store", lab.store.uri]
    assert main([*store, "promote", worse.id, "other", "--baseline", best.id]) == 3
    assert "fails a margin of 0 macro F1" in capsys.readouterr().err
    assert main([*store, "models"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split()[:5] == ["model", "version", "current", "f1", "mean_iou"]
    assert out[2].endswith("the other one is slow")
    assert main([*store, "models", MODEL, "--card"]) == 0
    assert capsys.readouterr().out.startswith("# vegas-buildings, version 4\n")
    assert main([*store, "models", MODEL, "--log"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
    assert main([*store, "models", "vegas", "--card"]) == 1

    table = lab.models()
    assert table["version"].tolist() == [4, 3, 2, 1]
    assert table["current"].tolist() == [True, False, False, False]
    assert table["run"].tolist() == [second.id, worse.id, best.id, worst.id]
    assert table["gate"].tolist() == ["passes", "fails", "passes", "first version"]
    assert table["override"].dropna().tolist() == ["the other one is slow"]
    assert list(table)[:8] == [
        *("model", "version", "current", "metrics.f1", "metrics.mean_iou", "gate", "override"),
        "promoted",
    ]
    own = table.dtypes[list(MODELS_TABLE.names)].astype(str)
    assert dict(own) == {name: str(dtype) for name, dtype in MODELS_TABLE.dtypes.items()}
    rows = lab.runs([best, second, worse, worst])
    scores = table.set_index("run")["metrics.f1"].reindex(rows.index)
    assert scores.to_numpy() == pytest.approx(rows["metrics.f1"].to_numpy(dtype=float))
    assert lab.history(table.head(2))["run"].unique().tolist() == [second.id, worse.id]

    lab.rollback(MODEL, to=2, why="faster")
    log = lab.model_log(MODEL)
    assert dict(log.dtypes.astype(str)) == {k: str(v) for k, v in MODEL_LOG_TABLE.dtypes.items()}
    assert log["version"].tolist() == [1, 2, 3, 4, 2]
    assert log["why"].tolist()[2:] == ["the other one is slow", "promoted", "faster"]
    assert log["by"].str.contains("@").all()
    assert (
        main(["--store", lab.store.uri, "rollback", MODEL, "--to", "none", "--why", "wrong"]) == 0
    )
    assert not lab.models(MODEL)["current"].any()
    with pytest.raises(SpecError, match=r"has no current version. Name one as vegas-buildings:4"):
        lab.model(MODEL)
    with pytest.raises(GateNotPassed, match="No version is the current one") as refused:
        lab.promote(_copy_of(lab, best), MODEL)
    assert refused.value.verdict == "not compared"
    with pytest.raises(SpecError, match="already has no current version"):
        lab.rollback(MODEL, to=None)
    with pytest.raises(NotFound, match=r"has no version 9\. There are 1, 2, 3, 4\."):
        lab.rollback(MODEL, to=9)
    lab.rollback(MODEL, to=3)
    with pytest.raises(SpecError, match="already has version 3 as its current version"):
        lab.rollback(MODEL, to=3)


def _copy_of(lab: Lab, run: Run) -> Run:
    """Return a new run with the scores and the bundle of another."""
    made = Made(lab.store).ended({"lr": 0.5}, {"f1": 0.9}, experiment="town", run=new_run_id())
    for key, _ in lab.store.files(run.prefix):
        if not key.endswith("spec.json"):
            lab.store.put(made.key(key.removeprefix(f"{run.prefix}/")), lab.store.get(key))
    return made


def test_what_cannot_be_promoted_is_refused_in_a_sentence(lab: Lab, runs: list[Run]) -> None:
    best, second, *_ = runs
    made = Made(lab.store)
    failed = made.ended({}, state="failed", step="train", experiment="town")
    for run, why in (
        (failed, r"is failed in train: only a run that has succeeded can be promoted\."),
        (made.running(experiment="town"), r"is running in train: only a run that has succeeded"),
    ):
        with pytest.raises(SpecError, match=why):
            lab.promote(run, MODEL)
    with pytest.raises(NotFound, match="has no model: its files contain no bundle"):
        lab.promote(made.ended({}, experiment="town"), MODEL)
    bare = made.ended({}, experiment="town")
    put_bundle(lab, bare, b"no archive")
    with pytest.raises(StoreError, match="is not one of Raster Vision"):
        lab.promote(bare, MODEL)
    for name in ("vb", "2-vegas", "vegas buildings", "vegas-", "../x", "", None):
        with pytest.raises(SpecError, match="is not a valid name of a model"):
            lab.promote(best, name)  # type: ignore[arg-type]
    with pytest.raises(
        SpecError, match="'facade' cannot be the name of a model: 4 to 6 characters"
    ):
        lab.promote(best, "facade")
    with pytest.raises(SpecError, match=r"'town' cannot be .* it is the name of an experiment"):
        lab.promote(best, "town")
    texts: dict[str, Any]
    for texts in ({"override": ""}, {"override": 1}, {"license": "a\nb"}, {"note": "\ud800"}):
        with pytest.raises(SpecError, match="must be"):
            lab.promote(best, MODEL, **texts)
    assert lab.store.files("_models") == []

    lab.promote(best, MODEL)
    with pytest.warns(UserWarning, match=rf"{best.id} is already version 1 .* Nothing was written"):
        same = lab.promote(best, MODEL, override="again")
    assert (same.record.version, same.record.override) == (1, None)
    assert lab.models(MODEL)["version"].tolist() == [1]
    with pytest.raises(SpecError, match="cannot be compared with itself"):
        lab.promote(second, MODEL, baseline=second)
    other = _copy_of(lab, second)
    made.table(other, "confusion", [])
    with pytest.raises(GateNotPassed, match=r"cannot be compared with version 1 .*No confusion"):
        lab.promote(other, MODEL)
    version = lab.promote(other, MODEL, override="scored elsewhere")
    assert (version.record.gate, version.record.scenes) == ("not compared", None)
    assert "It was not scored" not in version.card  # its row has metrics without matrices
    with pytest.raises(
        SpecError, match=r"already version 1 .* current with lab.rollback\('vegas-b"
    ):
        lab.promote(best, MODEL)


def test_run_of_the_current_version_is_not_deleted_and_others_are_not_needed(
    lab: Lab, runs: list[Run]
) -> None:
    best, _, _, worst = runs
    lab.promote(worst, MODEL)
    lab.promote(best, MODEL)
    with pytest.raises(
        SpecError, match=rf"{best.id} is version 2 of the model '{MODEL}', its curr"
    ):
        lab.delete([best, worst], confirm="town")
    lab.delete(worst, confirm=worst.id)
    lab.archive(best)
    lab.clean(older_than_s=0)
    lab.rollback(MODEL, to=1)
    version = ModelVersion(lab.store, read_version(lab.store, MODEL, 1))
    with lab.open(version.bundle_uri) as file:
        assert hashlib.sha256(file.read()).hexdigest() == version.record.bundle_sha256
    assert version.record.source == SOURCE
    with pytest.raises(GateNotPassed, match=rf"The run {worst.id} of version 1 was deleted"):
        lab.promote(_copy_of(lab, best), MODEL)
    assert lab.promote(_copy_of(lab, best), MODEL, baseline=best, margin=0.01).version == 3
    lab.delete(best, confirm=best.id)


def test_names_and_versions_select_models(lab: Lab, runs: list[Run]) -> None:
    best, *_, worst = runs
    lab.promote(worst, MODEL)
    lab.promote(best, MODEL)
    for one in lab.models()["bundle_uri"].unique():
        lab.store.put(lab.store.key(one), b"other")
    of_1 = lab.models()[lambda table: table["version"] == 1]
    for selector, number in (
        (MODEL, 2),
        (f"{MODEL}:current", 2),
        (f"{MODEL}:1", 1),
        (of_1, 1),
        (of_1.iloc[0], 1),
        (ModelVersion(lab.store, read_version(lab.store, MODEL, 1)), 1),
    ):
        why = (
            rf"The bundle of the model {MODEL}:{number} was changed since it was promoted: its SHA"
        )
        with pytest.raises(StoreError, match=why):
            lab.model(selector)
        with pytest.raises(StoreError, match=why):
            lab.predict(selector, "scene.tif")
    elsewhere = Lab(Store(f"{lab.store.uri}-other"))
    for other in (of_1, ModelVersion(lab.store, read_version(lab.store, MODEL, 1))):
        with pytest.raises(SpecError, match="is not in the store"):
            elsewhere.model(other)
    with pytest.raises(
        NotFound, match=r"No model, experiment or run 'vegas-building' in .* Did you"
    ):
        lab.model("vegas-building")
    with pytest.raises(NotFound, match=r"No model 'vegas' in .*\. Did you mean|There are"):
        lab.models("vegas")
    with pytest.raises(NotFound, match=r"No experiment or run 'nothing-like-it'"):
        lab.model("nothing-like-it")
    for text in (f"{MODEL}:x", f"{MODEL}:", f"{MODEL}:²"):
        with pytest.raises(SpecError, match=r"is not a version of a model\. Use vegas-buildings:2"):
            lab.model(text)
    Made(lab.store).ended({}, experiment=MODEL)
    with pytest.raises(SpecError, match=rf"is the name of a model and selects the run {MODEL}/2"):
        lab.model(MODEL)
    with pytest.raises(StoreError, match="was changed"):
        lab.model(f"{MODEL}:current")
    for code in ('lab.rollback("', 'lab.model("', 'lab.promote(run, "'):
        words = [word for one in find_completions(code, {"lab": lab}) for word in one.words]
        assert MODEL in words


def test_item_is_valid_stac_with_the_extension_mlm(lab: Lab, runs: list[Run]) -> None:
    lab.promote(runs[2], MODEL)
    version = lab.promote(runs[0], MODEL, license="apache-2.0")
    found = json.loads(lab.store.get(version.record.key("item.json")))
    assert found == version.item
    assert validate_dict(found, extensions=[])  # the schemas of extensions are on the network
    folder = Path(lab.store.uri, version.record.key())
    item = pystac.Item.from_file(str(folder / "item.json"))
    model = MLMExtension.ext(item)
    assert (model.mlm_name, model.architecture) == (MODEL, "resnet50")
    assert model.tasks == ["semantic-segmentation"]
    assert model.input[0].input.shape == [-1, 3, 64, 64]
    assert model.input[0].bands == ["red", "green", "blue"]
    assert model.pretrained
    classes = model.output[0].classes or []
    assert [one.to_dict()["color_hint"] for one in classes] == [
        "D9D9D9",
        "FFA500",
        "4675B4",
        "000000",
    ]
    asset = item.assets["model"]
    data = Path(str(asset.get_absolute_href())).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    assert FileExtension.ext(asset).checksum == f"1220{digest}"
    assert FileExtension.ext(asset).size == len(data)
    assert Path(str(item.assets["recipe"].get_absolute_href())).read_text() == SOURCE
    assert item.assets["container"].href == version.record.image
    before = item.get_single_link("predecessor-version")
    assert before is not None
    assert before.get_absolute_href() == str(folder.parent / "1" / "item.json")
    metric = next(m for m in found["properties"]["rvlab:metrics"] if m["name"] == "f1.building")
    seeds = compare.seeds(lab.runs(runs[0]), "metrics.f1")
    ends = [
        float(seeds[f"f1.{name}"].iloc[0]) for name in ("mean", "scenes95_low", "scenes95_high")
    ]
    assert version.metrics.T["f1"].tolist() == pytest.approx(ends)
    assert metric["low"] < metric["value"] < metric["high"]


def test_items_of_every_task_are_parsed_by_stac_model(lab: Lab, runs: list[Run]) -> None:
    schema = pytest.importorskip("stac_model.schema", reason="in the extra dev")
    record = lab.promote(runs[0], MODEL).record
    for one in (record, *_variants(record)):
        item = stac_item(one)
        assert validate_dict(item, extensions=[])
        parsed = schema.MLModelProperties.model_validate(item["properties"])
        assert parsed.name == MODEL
        names = [each.to_dict()["description"] for each in parsed.output[0].classes]
        assert names == list(one.classes)


def _variants(record: VersionRecord) -> Iterator[VersionRecord]:
    """Yield records of other tasks, and with less and odd content."""
    yield replace(record, task="chip_classification", bands=(), dtype=None, chip_px=None)
    yield replace(record, task="object_detection", pretrained=False, params={}, image=None)
    odd = ("a b", "日本", *HOSTILE.values())
    yield replace(record, classes=odd, colors=("#000000",) * len(odd), source=None, channels=None)


def test_card_has_what_a_user_needs_and_no_markup_of_values(lab: Lab, runs: list[Run]) -> None:
    from markdown_it import MarkdownIt

    version = lab.promote(runs[0], MODEL, note="Buildings of Las Vegas.", license="apache-2.0")
    text = lab.store.get(version.record.key("README.md")).decode()
    head, card = text.removeprefix("---\n").split("---\n\n", 1)
    assert 'license: "apache-2.0"' in head.splitlines()
    assert 'pipeline_tag: "image-segmentation"' in head.splitlines()
    assert card == version.card == version._repr_markdown_()
    for part in (
        "# vegas-buildings, version 1",
        "**Note:** Buildings of Las Vegas.",
        "3 channels (red, green, blue), dtype uint8, 0.5 m per pixel",
        "| 1 | building | \\#ffa500 |",
        "lab.predict('vegas-buildings:1', 'scene.tif')",
        version.record.bundle_sha256,
        "8 scenes of the group validation",
        "The 95 % intervals are over scenes",
        "Gate: **first version**",
        "| lr | 0.01 |",
        "| git commit | cccc",
        "## Limits",
    ):
        assert part in card, part
    assert re.search(r"\| f1 \| 0\.\d{3} \| 0\.\d{3} to 0\.\d{3} \|", card)
    assert re.search(r"\| building \| 0\.\d{3} \(0\.\d{3} to 0\.\d{3}\) \|", card)

    names = tuple(f"{name} {text}" for name, text in HOSTILE.items())
    texts = (
        "promoted_by",
        "override",
        "note",
        "license",
        "gate_sentence",
        "run_name",
        "architecture",
    )
    fields: dict[str, Any] = dict.fromkeys((*texts, "bundle_code", "image", "recipe"), ALL)
    fields |= {"null_class": ALL, "classes": names, "colors": ("#000000",) * len(names)}
    fields |= {"bands": names, "params": {text: text for text in names}}
    hostile = replace(version.record, **fields, metrics={f"f1.{name}": 0.5 for name in names})
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(model_card(hostile, "s"))
    assert not re.search(r"<(script|img|svg|iframe|a|b)[ >]", html)
    assert html.count("<h1>") == 1
    assert model_card(hostile, "s", front_matter=True).count("\n---\n") == 1


def test_bundle_with_code_is_marked_in_record_and_card(lab: Lab, runs: list[Run]) -> None:
    add_bundle(lab, runs[0], files={"modules/mine/hubconf.py": b"1 / 0"})
    version = lab.promote(runs[0], MODEL)
    assert version.record.bundle_code == "modules/mine/hubconf.py"
    assert "`trust_code=True` is needed" in version.card
    with pytest.raises(SpecError, match="contains modules/mine/hubconf"):
        lab.model(MODEL)


def test_model_whose_imagery_was_deleted_is_described_by_its_configs(
    lab: Lab, runs: list[Run]
) -> None:
    config = lab.store.get(runs[0].key("rv/pipeline-config.json")).replace(
        b'.tif"', b'-deleted.tif"'
    )
    model = {"external_def": {"entrypoint": "unet", "uri": "/x/unet.zip"}}
    add_bundle(lab, runs[0], learner={"model": model, "data": {}}, config=config)
    version = lab.promote(runs[0], MODEL)
    record = version.record
    assert (record.architecture, record.pretrained, record.channels) == ("unet", None, None)
    assert (record.dtype, record.bands, record.metres_per_px) == (None, (), None)
    assert record.bundle_code is not None
    assert record.bundle_code.startswith("external_def with a definition of its own")
    assert "Imagery like that of its training.\n" in version.card
    assert validate_dict(version.item, extensions=[])
    for broken in (b"[]", b'{"dataset": 1}', b'{"dataset": {"class_config": {"names": []}}}'):
        add_bundle(lab, runs[1], config=broken)
        with pytest.raises(StoreError, match=r"config"):
            lab.promote(runs[1], "other")


def test_two_users_cannot_make_the_same_version_and_no_choice_is_lost(
    s3: Server, s3_access: S3Access, lab: Lab, runs: list[Run]
) -> None:
    record = lab.promote(runs[0], MODEL).record
    store = Store(f"s3://{s3.bucket}/models", s3_access)
    results: list[object] = []

    def write(number: int) -> None:
        mine = replace(
            record, writer=f"{number:016x}", promoted_by=f"user {number}", note=str(number)
        )
        try:
            create_version(store, mine)
            results.append(mine)
        except KeyExists as exc:
            results.append(exc)
        write_version_choice(store, MODEL, 1, mine.promoted_by, "")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    winner = read_version(store, MODEL, 1)
    assert [one for one in results if isinstance(one, VersionRecord)] == [winner]
    refused = [one for one in results if isinstance(one, KeyExists)]
    assert len(refused) == 5
    assert f"Version 1 of the model '{MODEL}' was made by {winner.promoted_by}" in str(refused[0])
    listing = list_model(store, MODEL)
    assert listing.choices == (1, 2, 3, 4, 5, 6)
    assert {one.by for one in read_version_choices(store, listing)} == {
        f"user {n}" for n in range(6)
    }


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"model": "other"}, "names 'other', version 2"),
        (
            {"bundle_sha256": "../../x"},
            r"bundle_sha256 must be 64 hexadecimal digits, got '../../x'",
        ),
        ({"colors": ["red; x"]}, "it has 4 classes and 1 colors"),
        ({"run": "../x"}, "must be valid names, got 'town/../x'"),
        ({"gate": "<b>"}, "gate must be one of .*, got '<b>'"),
        ({"promoted": "yesterday"}, "promoted is 'yesterday', not a UTC time"),
        ({"metrics": {"f1": "high"}}, "metrics.f1 is str"),
        ({"version": None}, "version is NoneType, not int"),
    ],
)
def test_version_with_an_invalid_record_is_left_out_with_a_warning(
    lab: Lab, runs: list[Run], changes: dict[str, Any], why: str
) -> None:
    lab.promote(runs[3], MODEL)
    record = lab.promote(runs[0], MODEL).record
    lab.store.put_json(record.key("version.json"), {**record.record(), **changes})
    with pytest.warns(UserWarning, match=f"Version 2 of the model '{MODEL}' is left out: .*{why}"):
        assert lab.models()["version"].tolist() == [1]
    with pytest.raises(StoreError, match=why):
        lab.model(MODEL)
    many = {f"f1.class {number}": 0.5 for number in range(200)}
    content = record.record() | {"new": 1, "metrics": many}  # a field of a later version of rvlab
    lab.store.put(record.key("version.json"), json.dumps(content).encode())
    assert lab.models()["metrics.f1.class 199"].tolist()[:1] == [0.5]


def test_model_with_a_damaged_choice_is_listed_and_gets_a_new_one(
    lab: Lab, runs: list[Run]
) -> None:
    best, _, _, worst = runs
    lab.promote(worst, MODEL)
    lab.promote(best, MODEL)
    lab.store.put(version_choice_key(MODEL, 2), b"{")
    with pytest.warns(UserWarning, match=f"The current version of the model '{MODEL}' is unknown"):
        assert not lab.models()["current"].any()
    lab.rollback(MODEL, to=2)
    assert lab.models().query("current")["version"].tolist() == [2]


def test_experiment_with_the_name_of_a_model_does_not_prevent_new_versions(
    lab: Lab, runs: list[Run]
) -> None:
    best, _, _, worst = runs
    lab.promote(worst, MODEL)
    Made(lab.store).ended({}, experiment=MODEL)
    assert lab.promote(best, MODEL).record.version == 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:'pin_memory' argument")  # a GPU is missing
def test_promoted_model_predicts_as_its_run_on_a_store_on_s3(
    trained: Trained, tmp_path: Path
) -> None:
    lab, run = trained.lab, trained.runs["first"]
    version = lab.promote(run, "tiny-towns")
    assert validate_dict(copy.deepcopy(version.item), extensions=[])
    weights, same = (lab.model(one).state_dict() for one in (run, "tiny-towns"))
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    files = lab.artifacts(run)
    own = files[(files["kind"] == "labels") & (files["scene"] == "validation-0")]["uri"].item()
    image = next(key for key, _ in lab.store.files("_data") if key.endswith("validation-0.tif"))
    (tmp_path / "new.tif").write_bytes(lab.store.get(image))
    made = lab.predict("tiny-towns", tmp_path / "new.tif", overlap=None, scores=False)
    row = lab.wait(made, progress=False).iloc[0]
    assert (row["state"], row["parent"], row["kind"]) == ("succeeded", run.id, "prediction")
    assert (row["params.model"], row["name"]) == ("tiny-towns:1", "new by tiny-towns:1")
    found = lab.artifacts(made).query("kind == 'labels'")["uri"].item()
    arrays = []
    for uri in (own, found):
        with lab.open(uri) as file, rasterio.open(io.BytesIO(file.read())) as raster:
            arrays.append(raster.read(1))
    assert np.array_equal(*arrays)
    with pytest.raises(NotFound, match="has no model"):
        lab.promote(made, "tiny-towns", override="a prediction")
