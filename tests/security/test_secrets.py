"""Secrets must not appear in records, logs, pickles, reprs or errors."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from rvlab import Lab, LocalEngine
from rvlab.engines.kubeflow.engine import KubeflowEngine
from rvlab.errors import StoreError
from rvlab.recipes import find_recipe
from rvlab.settings import Profile
from rvlab.store import S3Access, Store, server
from rvlab.store.server import Server
from rvlab.submission import SubmitOptions, prepare_runs
from tests.worker.samples import made
from tests.worker.test_ends import start_step, wait_for_end

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCY"
TOKEN = "FwoGZXIvYXdzEBYaDKexampletoken"
ACCESS = S3Access("http://127.0.0.1:1", "AKIDEXAMPLE1", SECRET, TOKEN)

ENVIRON = {
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "GITHUB_TOKEN": "ghp_0123456789abcdefghij0123456789abcdef",
    "MLFLOW_TRACKING_PASSWORD": 'a"b\\c/d ef+gh',
    "WANDB_API_KEY": "0a1b2c3d4e5f60718293",
    "DATABASE": "postgresql://me:top-5ecret@db/x",
    "DEPLOY_KEY": "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqh\n-----END PRIVATE KEY-----\n",
}

LEAKS: tuple[str, ...] = (
    "wJalrXUt",
    "0123456789abcdefghij",
    'a"b',
    "c/d ef",
    "c%2Fd",
    "0a1b2c3d4e5f",
    "top-5ecret",
)
LEAKS += ("MIIEvQIBADANBgkqh",)

BODY = """
import base64, json, os, urllib.parse
names = {names!r}
for name in names:
    value = os.environ[name]
    print(name, value, repr(value), json.dumps(value), urllib.parse.quote(value, safe=""))
    print(base64.b64encode(("user:" + value).encode()).decode(), flush=True)
    os.write(1, value[:5].encode())
    time.sleep(0.3)
    os.write(1, value[5:].encode() + b"\\n")
raise ValueError("x" * 480 + " ".join(os.environ[name] for name in names))
"""


def read_files(folder: Path) -> dict[str, str]:
    """Return the text of all files in a folder, by path."""
    return {str(p): p.read_text(errors="replace") for p in folder.rglob("*") if p.is_file()}


def test_step_redacts_secrets_of_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    store, run = made(tmp_path / "store")
    process = start_step(tmp_path, run, BODY.format(names=list(ENVIRON)))
    status, out = wait_for_end(process)
    assert status == 1
    texts = {"stdout": out, **read_files(tmp_path / "store")}
    log = store.get(run.log_key("summarize")).decode()
    assert log.count("[secret]") > 4 * len(ENVIRON)
    assert "Traceback" in log
    for where, text in texts.items():
        for leak in LEAKS:
            assert leak not in text, (where, leak)
    assert "[secret]" in str(store.get_json(run.end_key)["error"])


def recipe(tmp_path: Path, body: str = "") -> Any:
    path = tmp_path / "own.py"
    path.write_text(
        f"def get_config(runner, root_uri, url='', n=0):\n    {body}\n    return None\n"
    )
    return find_recipe(path)


def prepare(tmp_path: Path, point: dict[str, Any], body: str = "pass") -> dict[str, Any]:
    store = Store(tmp_path / "store")
    run = prepare_runs(
        store, recipe(tmp_path, body), [point], SubmitOptions("towns", "none", 1, 0)
    )[0]
    return store.get_json(run.key("spec.json"))


def test_parameter_with_a_password_warns_and_is_not_in_the_run_name(
    tmp_path: Path,
) -> None:
    url = "https://me:top-5ecret@host/labels.json"
    with pytest.warns(UserWarning, match="The parameter 'url' holds a secret") as caught:
        spec = prepare(tmp_path, {"url": url})
    assert "top-5ecret" not in "".join(str(one.message) for one in caught)
    assert spec["params"]["url"] == url  # the run needs it
    assert "top-5ecret" not in spec["name"]


def test_recipe_with_a_secret_of_the_environment_warns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_TOKEN", "0a1b2c3d4e5f60718293")
    with pytest.warns(UserWarning, match="The recipe own holds a secret"):
        prepare(tmp_path, {}, body="token = '0a1b2c3d4e5f60718293'")


def test_ordinary_parameters_do_not_warn(tmp_path: Path) -> None:
    assert prepare(tmp_path, {"url": "https://host:80/x", "n": 3})["name"]


def leaks(text: str) -> bool:
    return SECRET in text or TOKEN in text


SHOWN: dict[str, Any] = {
    "repr": repr,
    "str": str,
    "format": "{}".format,
    "asdict": lambda one: str(asdict(one)) if hasattr(one, "__dataclass_fields__") else "",
    "vars": lambda one: str(vars(one)),
}


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A lab on S3 whose store is not registered by other tests."""
    monkeypatch.setattr("rvlab.store.addresses._registered", {})
    return Lab(Store("s3://b/x", ACCESS), LocalEngine(max_parallel=1))


def holders(lab: Lab) -> dict[str, Any]:
    lab.store._objects  # noqa: B018  created at the first read
    home = Path("/nonexistent")
    return {
        "access": ACCESS,
        "store": lab.store,
        "server": Server(home, "http://127.0.0.1:1", "b", "AKIDEXAMPLE1", SECRET, 1),
        "lab": lab,
    }


@pytest.mark.parametrize("show", SHOWN)
@pytest.mark.parametrize("holder", ["access", "store", "server", "lab"])
def test_a_secret_is_not_shown(lab: Lab, holder: str, show: str) -> None:
    assert not leaks(SHOWN[show](holders(lab)[holder]))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("holder", ["access", "store", "server", "lab"])
def test_a_secret_is_not_pickled(lab: Lab, holder: str, protocol: int) -> None:
    data = pickle.dumps(holders(lab)[holder], protocol)
    assert not leaks(data.decode("latin-1"))


def test_traceback_with_locals_has_no_secret(lab: Lab) -> None:
    def fails(access: S3Access) -> None:
        secret = access.secret_key
        raise ValueError(f"{len(secret or '')} characters")

    with pytest.raises(ValueError, match="30 characters") as caught:
        fails(lab.store.access)
    made = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert "secret = '[secret]'" in "".join(made.format())
    assert not leaks("".join(made.format()))


def unpickle(data: bytes) -> Any:
    return pickle.loads(data)  # noqa: S301  pickles of this test


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_copy_has_the_credentials_of_the_original(lab: Lab, copied: Any) -> None:
    for one in (copied(lab.store), copied(lab).store):
        assert one.uri == lab.store.uri
        assert one.access == ACCESS
        assert one.environ()["AWS_SECRET_ACCESS_KEY"] == SECRET


def test_unpickled_lab_uses_the_credentials_of_an_open_store(lab: Lab) -> None:
    found: Lab = unpickle(pickle.dumps(lab))
    assert found.store.access == ACCESS
    assert repr(found) == repr(lab)
    assert found.engine == lab.engine


def test_unpickled_store_uses_the_credentials_of_the_environment(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pickle.dumps(lab.store)
    monkeypatch.setattr("rvlab.store.addresses._registered", {})
    for name, value in ACCESS.environ().items():
        monkeypatch.setenv(name, value)
    assert unpickle(data).access == ACCESS
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    assert unpickle(data).access == S3Access(ACCESS.endpoint)


READ = "import pickle, sys; print(pickle.load(sys.stdin.buffer).get('there'))"


def test_another_process_reads_the_embedded_store_of_a_pickle(
    s3: Server, s3_access: S3Access
) -> None:
    store = Store(f"s3://{s3.bucket}/pickled", s3_access)
    store.put("there", b"found")
    data = pickle.dumps(store)
    assert s3.secret_key.encode() not in data
    env = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    env["RVLAB_STORE"] = f"embedded:{s3.folder}"
    done = subprocess.run(
        [sys.executable, "-c", READ], input=data, env=env, capture_output=True, check=True
    )
    assert done.stdout.strip() == b"b'found'"
    other: Server = unpickle(pickle.dumps(s3))
    assert other == s3
    assert other.secret_key == s3.secret_key
    assert server.find_server(other.folder) == s3


def test_keys_of_the_server_are_only_in_its_server_json(s3: Server) -> None:
    assert json.loads((s3.folder / "server.json").read_text())["secret_key"] == s3.secret_key
    for name in ("server.log", "server.log.old", "bucket", "internal.pem"):
        if (s3.folder / name).exists():
            assert s3.secret_key not in (s3.folder / name).read_text(errors="replace")


def test_pickle_of_a_lab_on_kubeflow_has_no_token(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KFP", TOKEN)
    lab.engine = KubeflowEngine(Profile(host="http://127.0.0.1:1", token_env="KFP"))
    assert lab.engine.client._client.configuration.api_key == {"authorization": TOKEN}
    data = pickle.dumps(lab)
    assert not leaks(data.decode("latin-1"))
    again = unpickle(data).engine.client._client
    assert again.configuration.api_key == {"authorization": TOKEN}


def chain(exc: BaseException | None) -> Iterator[BaseException]:
    while exc is not None:
        yield exc
        exc = exc.__cause__ or exc.__context__


@pytest.mark.parametrize("endpoint", [None, "http://127.0.0.1:1", "no url"])
def test_error_of_the_store_has_no_secret(
    s3: Server, monkeypatch: pytest.MonkeyPatch, endpoint: str | None
) -> None:
    monkeypatch.setattr("rvlab.store.object_storage.S3_RETRY_TIMEOUT_S", 1)
    access = S3Access(endpoint or s3.endpoint, s3.access_key, SECRET, TOKEN)
    with pytest.raises(StoreError) as caught:
        Store(f"s3://{s3.bucket}/x", access).put("key", b"data")
    found = list(chain(caught.value))
    for one in found:
        assert not leaks(f"{one!r} {one} {one.args} {vars(one)}")
    assert not leaks("".join(traceback.format_exception(caught.value)))
