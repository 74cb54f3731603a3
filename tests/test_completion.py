"""Completion of arguments of `rvlab.Lab`: the scanner, the names, and IPython's completer."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

import rvlab
from rvlab import Lab
from rvlab.actions import quick_reads
from rvlab.actions.call_at_cursor import argument_at_cursor
from rvlab.actions.completion import MATCHER, Completions, find_completions
from rvlab.actions.quick_reads import TimedCache
from rvlab.errors import StoreUnreachable
from rvlab.recipes import find_recipe, shipped_recipes
from rvlab.store import Store
from tests.frame.samples import Made


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ('lab.runs("to', ("lab.runs", 0, None, True, "to")),
        ('x = 1\nlab.runs("to', ("lab.runs", 0, None, True, "to")),
        ("lab.runs('", ("lab.runs", 0, None, True, "")),
        ('lab.runs(["a", "b', ("lab.runs", 0, None, True, "b")),
        ("lab.submit('a, (b', lr=[1, 2], ep", ("lab.submit", 1, None, False, "ep")),
        ("lab.submit(f(x), n = ", ("lab.submit", 1, "n", False, "")),
        ("lab.submit('a',  # a ' comment (\n   s", ("lab.submit", 1, None, False, "s")),
        ('lab.runs(state="', ("lab.runs", 0, "state", True, "")),
        ("f(a == b", ("f", 0, None, False, "b")),
        ("g(f(1), '''a\nb", ("g", 1, None, True, "a\nb")),
        ("lab.runs(\"don't", ("lab.runs", 0, None, True, "don't")),
        (r'f("a\"b", c', ("f", 1, None, False, "c")),
    ],
)
def test_argument_at_the_cursor(code: str, expected: tuple[Any, ...]) -> None:
    at = argument_at_cursor(code)
    assert at is not None
    assert (at.function, at.position, at.keyword, at.in_string, at.fragment) == expected


@pytest.mark.parametrize(
    "code", ["", "x", "(a", "f(1) + g", "{'a': ", "x['a", "f()", "'f(", "# f("]
)
def test_no_argument_outside_of_a_call(code: str) -> None:
    assert argument_at_cursor(code) is None


@given(st.text(alphabet="ab.\"'\\()[]{},=# \n", max_size=30))
def test_any_code_can_be_scanned(code: str) -> None:
    at = argument_at_cursor(code)
    assert at is None or code.endswith(at.fragment)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    made = Made(Store(tmp_path / "store"))
    run = made.ended({"lr": 0.1}, {"f1": 0.5}, run="20261123-154201-c3e777")
    made.store.put(run.key("recipe.py"), find_recipe("synthetic_town").source.encode())
    made.queued(run="20261123-154202-a1b2c3", experiment="roads")
    return made


@pytest.fixture
def names(made: Made) -> dict[str, Any]:
    """The variables of a notebook; the names of the store have been read."""
    lab = Lab(made.store)
    quick_reads.quick_listings(made.store, wait_s=60)
    return {"lab": lab, "rvlab": rvlab, "board": lab.runs(), "x": 1}


def words(code: str, names: dict[str, Any]) -> list[str]:
    return [word for one in find_completions(code, names) for word in one.words]


TOWN = list(find_recipe("synthetic_town").signature.parameters)
RUNS = ["20261123-154202-a1b2c3", "20261123-154201-c3e777"]


def test_names_fit_the_argument(names: dict[str, Any]) -> None:
    cases = {
        'lab.runs("': ["roads", "towns", *RUNS],
        'lab.runs("tow': ["towns"],
        'lab.runs(["towns", "c3e': [RUNS[1]],
        'lab.runs("towns/': [f"towns/{RUNS[1]}"],
        'lab.run("': RUNS,
        'lab.clone(run="road': ["roads"],
        "lab.watch(": ["board", "'roads'", "'towns'", *map(repr, RUNS)],
        'lab.runs(experiment="': ["roads", "towns"],
        'lab.runs(state="fai': ["failed"],
        "lab.runs(state=": [repr(one) for one in rvlab.model.STATES],
        'lab.logs("c3e777", "tr': ["train"],
        'lab.submit("': shipped_recipes(),
        'lab.submit("synthetic_town", ': [f"{one}=" for one in TOWN],
        'lab.submit("synthetic_town", lr=1e-3, epo': ["epochs="],
        'lab.submit(lr=1, recipe="neon_trees", held_out="n': ["nw", "ne"],
        'lab.sweep("synthetic_town", rvlab.grid(lr=[1], ba': ["batch_size="],
        "lab.tune('synthetic_town', {}, l": ["lr="],
        'lab.clone("c3e777", wid': ["width="],
        'lab.best("towns", "f': ["metrics.f1"],
        'lab.submit("nothing", ': [],
        'lab.submit("synthetic_town", lr=': [],
        'other.runs("': [],
        'lab.nothing("': [],
        'lab.engine.states("': [],
        "x.runs(": [],
        "print(": [],
    }
    assert {code: words(code, names) for code in cases} == cases


def test_variables_and_functions_of_the_notebook_are_recipes(names: dict[str, Any]) -> None:
    def get_config(runner: Any, root_uri: str, alpha: float = 0.1) -> None: ...

    get_config.__module__ = "elsewhere"
    own = {**names, "name": "synthetic_town", "my_config": get_config}
    assert words("lab.submit(name, lr", own) == ["lr="]
    assert words("lab.submit(", own)[0] == "my_config"


def test_slow_store_is_not_awaited_and_its_answer_is_used_later() -> None:
    cache, answer = TimedCache(), threading.Event()

    def slow() -> list[str]:
        assert answer.wait(60)
        return ["late"]

    assert cache.get("runs", slow, wait_s=0) is None
    assert cache.get("runs", slow, wait_s=0) is None
    answer.set()
    assert cache.get("runs", slow, wait_s=60) == ["late"]
    assert cache.get("runs", pytest.fail, wait_s=0) == ["late"]
    assert cache.get("runs", lambda: ["newer"], wait_s=60, fresh_s=0) == ["newer"]


def test_error_of_the_store_gives_no_names() -> None:
    def fail() -> None:
        raise StoreUnreachable("The store does not answer.")

    assert TimedCache().get("runs", fail, wait_s=60) is None


@pytest.fixture
def shell(names: dict[str, Any]) -> Iterator[InteractiveShell]:
    """A shell of IPython in which two labs were opened."""
    shell = InteractiveShell.instance()
    lab = names["lab"]
    Lab(lab.store)
    Lab(lab.store)
    shell.user_ns.update(names)
    yield shell
    InteractiveShell.clear_instance()


def test_completer_of_ipython_offers_names_once(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def complete(code: str) -> list[tuple[Any, ...]]:
        with provisionalcompleter():
            found = list(shell.Completer.completions(code, len(code)))
        return [(one.text, one.start, one.end, one.type) for one in found]

    matchers = shell.Completer.custom_matchers
    assert [getattr(one, "matcher_identifier", "") for one in matchers].count(MATCHER) == 1
    assert complete('lab.runs("tow') == [("towns", 10, 13, "run")]
    assert complete('y = 2\nlab.run("c3e7') == [(RUNS[1], 15, 19, "run")]
    assert ("lr=", 29, 29, "param") in complete('lab.submit("synthetic_town", ')
    assert ("synthetic_town", 12, 15, "recipe") in complete('lab.submit("syn')

    def fail(*_: object) -> list[Completions]:
        raise RuntimeError("a bug")

    monkeypatch.setattr("rvlab.actions.completion.find_completions", fail)
    assert ("towns", 10, 13, "run") not in complete('lab.runs("tow')
