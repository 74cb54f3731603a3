"""Tags, notes, archiving and deletion of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rvlab import Lab
from rvlab.errors import NotFound, SpecError, StoreError
from rvlab.model import HEARTBEAT_TIMEOUT_S, Run
from rvlab.store import Store
from rvlab.store.run_listing import write_active_marks
from tests.conftest import Trained
from tests.frame.samples import Made


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "store")


@pytest.fixture
def made(lab: Lab) -> Made:
    return Made(lab.store)


def snapshot(lab: Lab) -> dict[str, bytes]:
    return {key: lab.store.get(key) for key, _ in lab.store.files()}


# Tags, notes, archiving


def test_table_of_runs_shows_tags_notes_and_archiving(lab: Lab, made: Made) -> None:
    first, second = made.ended(), made.running()
    before = snapshot(lab)
    lab.tag(lab.runs(), "for the paper", "good")
    lab.tag(first.id, "best", remove=["good", "never there"])
    lab.note(second, "watch its loss")
    lab.archive(lab.runs().loc[first.id])
    table = lab.runs()
    assert table["tags"].tolist() == ["best, for the paper", "for the paper, good"]
    assert table["note"].tolist()[1:] == ["watch its loss"]
    assert table["archived"].tolist() == [True, False]
    lab.tag("towns", remove="for the paper")
    lab.note(second, "")
    lab.archive("towns", undo=True)
    table = lab.runs()
    assert table["tags"].tolist() == ["best", "good"]
    assert table["note"].isna().all()
    assert not table["archived"].any()
    after = snapshot(lab)
    assert {key: after[key] for key in before} == before
    assert all(key.startswith("towns/annotations/") for key in set(after) - set(before))


def test_invalid_annotation_is_refused_and_nothing_is_written(lab: Lab, made: Made) -> None:
    run = made.ended()
    before = snapshot(lab)
    missing = Run(run.store, "towns", f"{run.id[:-1]}9")
    for call, error, message in (
        (lambda: lab.tag(None, "a"), SpecError, r"^tag needs runs, got None\. Name runs"),
        (lambda: lab.note(None, "a"), SpecError, r"^note needs runs, got None\. Name runs"),
        (lambda: lab.archive(None), SpecError, r"^archive needs runs, got None\. Name runs"),
        (lambda: lab.delete(None), SpecError, r"^delete needs runs, got None\. Name runs"),
        (lambda: lab.tag(run), SpecError, "^tag needs a tag to add, or remove="),
        (lambda: lab.tag(run, "a", remove="a"), SpecError, "^The tag 'a' is added and removed"),
        (lambda: lab.tag(run, "a", "b\nc"), SpecError, r"^'b\\nc' is not a valid tag"),
        (lambda: lab.tag(run, "a" * 101), SpecError, r"^'a+\.\.\. is not a valid tag"),
        (lambda: lab.note(run, 5), SpecError, "^5 cannot be a note"),  # type: ignore[arg-type]
        (
            lambda: lab.tag([run, missing], "a"),
            NotFound,
            rf"No run 'towns/{missing.id}' .* Did you mean",
        ),
        (lambda: lab.archive("twons"), NotFound, "Did you mean 'towns'"),
        (lambda: lab.delete(missing, confirm=missing.id), NotFound, "Did you mean"),
    ):
        with pytest.raises(error, match=message):
            call()
    assert snapshot(lab) == before


def test_broken_annotation_does_not_hide_the_others(lab: Lab, made: Made) -> None:
    run = made.ended()
    lab.note(run, "a valid note")
    lab.store.put(f"towns/annotations/{run.id}/20991231-000000-000000-ffffff.json", b"[]")
    with pytest.warns(UserWarning, match="An annotation is left out of the table: .* holds list"):
        assert lab.runs()["note"].tolist() == ["a valid note"]


# Deleting


def answer_prompt(monkeypatch: pytest.MonkeyPatch, answer: str | type[BaseException]) -> list[str]:
    """Simulate the user's answer to a prompt; return the list of prompts."""
    prompts: list[str] = []

    def answered(prompt: str) -> str:
        prompts.append(prompt)
        if isinstance(answer, str):
            return answer
        raise answer

    monkeypatch.setattr("builtins.input", answered)
    return prompts


def test_run_is_deleted_after_its_id_is_typed(
    lab: Lab, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = made.ended(), made.ended()
    lab.tag([first, second], "good")
    prompts = answer_prompt(monkeypatch, f" {first.id} ")
    lab.delete(first)
    assert prompts == [f"This deletes the run {first.id} permanently. Type {first.id} to confirm: "]
    assert lab.runs().index.tolist() == [second.id]
    assert not [key for key, _ in lab.store.files() if first.id in key]
    with pytest.raises(NotFound, match=r"^No run"):
        lab.delete(first)


def test_runs_are_deleted_by_the_experiment_name_with_the_experiment(
    lab: Lab, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.ended(), made.ended(state="failed")
    road = made.ended(experiment="roads")
    lab.note("towns", "x")
    prompts = answer_prompt(monkeypatch, "towns")
    lab.delete(lab.runs("towns"))
    what = "2 runs of the experiment towns"
    assert prompts == [f"This deletes {what} permanently. Type towns to confirm: "]
    assert lab.runs().index.tolist() == [road.id]
    assert lab.store.folders() == ["roads"]
    with pytest.raises(NotFound, match="No experiment or run 'towns'"):
        lab.runs("towns")


@pytest.mark.parametrize("wrong", ["", "y", "towns", "20261123"])
def test_wrong_confirmation_deletes_nothing(
    lab: Lab, made: Made, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    run = made.ended()
    before = snapshot(lab)
    answer_prompt(monkeypatch, wrong)
    message = f"^To delete the run {run.id}, type or pass '{run.id}', got '{wrong}'. Nothing has"
    with pytest.raises(SpecError, match=message):
        lab.delete(run)
    with pytest.raises(SpecError, match=message):
        lab.delete(run, confirm=wrong)
    assert snapshot(lab) == before


@pytest.mark.parametrize("error", [EOFError, OSError, RuntimeError, "IPython"])
def test_deletion_without_a_prompt_requires_confirm(
    lab: Lab, made: Made, monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    if error == "IPython":
        from IPython.core.error import StdinNotImplementedError as error  # noqa: N813
    run = made.ended()
    answer_prompt(monkeypatch, error)
    with pytest.raises(
        SpecError, match=rf"a prompt is not available\. Pass confirm='{run.id}', in"
    ):
        lab.delete(run)
    lab.delete(run, confirm=run.id)
    assert lab.runs().empty


def test_active_runs_are_not_deleted(lab: Lab, made: Made) -> None:
    ended, running = made.ended(), made.running()
    queued = made.queued(user="another@host")
    before = snapshot(lab)
    for run, state in ((running, "running"), (queued, "queued")):
        with pytest.raises(SpecError, match=f"^The run {run.id} is {state}: cancel it first"):
            lab.delete([ended, run], confirm="towns")
    assert snapshot(lab) == before


def test_lost_broken_and_ended_runs_can_be_deleted(lab: Lab, made: Made) -> None:
    for state in ("succeeded", "failed", "cancelled"):
        made.ended(state=state)
    made.running(beat_ago_s=HEARTBEAT_TIMEOUT_S * 2)
    lab.store.put("towns/20260101-000000-aaaaaa/rv/train/log.csv", b"")
    write_active_marks(lab.store, [Run(lab.store.uri, "towns", "20260101-000000-aaaaaa")])
    states = ["broken", "succeeded", "failed", "cancelled", "lost"]
    assert lab.runs()["state"].tolist() == states
    lab.delete("towns", confirm="towns")
    assert lab.runs().empty
    assert lab.store.folders() == []


def test_runs_of_two_experiments_are_not_deleted_together(lab: Lab, made: Made) -> None:
    runs = [made.ended(), made.ended(experiment="roads")]
    with pytest.raises(SpecError, match="one experiment at a time, got 2: roads, towns"):
        lab.delete(runs, confirm="towns")
    assert len(lab.runs()) == 2
    lab.delete(lab.runs().query("state == 'failed'"))  # no runs, so no prompt


def test_interrupted_deletion_can_be_repeated(
    lab: Lab, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made.ended()
    for n in range(5):
        lab.store.put(run.key("rv", f"{n}.tif"), b"x")
    delete = lab.store._objects.delete

    def refuses(key: str) -> None:
        if key == run.key("spec.json"):
            raise StoreError("The store does not answer.")
        delete(key)

    with monkeypatch.context() as patch:
        patch.setattr(lab.store._objects, "delete", refuses)
        with pytest.raises(StoreError, match="does not answer"):
            lab.delete(run, confirm=run.id)
    assert lab.runs()["state"].tolist() == ["succeeded"]
    assert [key for key, _ in lab.store.files()] == [run.key("spec.json"), run.end_key]
    lab.delete(run, confirm=run.id)
    assert lab.store.files() == []


def test_trained_run_is_deleted_from_s3_with_all_its_folders(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = trained.lab.store
    store = Store(f"{source.uri}-copy", source.access)
    run = trained.runs["raises"]
    for key in [run.end_key, *(key for key, _ in source.files(run.prefix))]:
        store.put(key, source.get(key))
    store.put(run.key("rv", "train", "valid", "log.csv"), b"")
    lab = Lab(store)
    lab.tag("tiny", "copied")
    assert lab.runs()["tags"].tolist() == ["copied"]
    with pytest.raises(SpecError, match="is not in the store"):
        lab.delete(trained.runs["raises"], confirm=run.id)
    lab.delete(run.id, confirm=run.id)
    assert lab.runs().empty
    assert store.files() == []
    assert store.folders() == []
    assert trained.lab.runs(run)["state"].tolist() == ["failed"]


def test_data_next_to_runs_cannot_be_deleted(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "store")
    lab.store.put("datasets/vegas/img/1.tif", b"imagery")
    for name in ("datasets", "datasets/vegas"):
        with pytest.raises(NotFound, match=r"No experiment (or run )?'datasets"):
            lab.delete(name, confirm="vegas")
    assert lab.store.get("datasets/vegas/img/1.tif") == b"imagery"
