"""The client with a stateful fake; the main calls also with Kubeflow's API description."""

from __future__ import annotations

import itertools
import logging
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kfp_server_api as api
import pytest

from rvlab.engines.kubeflow import transport as module
from rvlab.engines.kubeflow.client import KubeflowClient, equals_filter
from rvlab.engines.kubeflow.transport import KubeflowTransport
from rvlab.errors import EngineError
from rvlab.settings import Profile
from rvlab.store._seaweedfs import _certificate
from tests.kubeflow.conftest import TOKEN, TOKEN_ENV, Cluster, profile_of
from tests.kubeflow.fake import Kubeflow, counted
from tests.waiting import wait_until

YAML = "pipelineInfo:\n  name: {name}\nschemaVersion: 2.1.0\nsdkVersion: kfp-2.17.0\n"
CREATE, LIST = r"POST .*/runs$", r"GET .*/runs$"


def uploaded(client: KubeflowClient, name: str = "town") -> tuple[str, tuple[str, str]]:
    """Create an experiment and a version, ready for runs."""
    return client.ensure_experiment("towns"), client.ensure_version(
        name, f"{name}-1", YAML.format(name=name)
    )


def listed(client: KubeflowClient) -> list[Any]:
    return [run for page in client.iter_pages() for run in page]


def started(client: KubeflowClient, *names: str) -> list[str]:
    experiment, version = uploaded(client)
    return [client.create_run(name, experiment, version, {}) for name in names]


# The main calls, direct and through prism.


def test_a_run_is_started_from_a_version_with_its_arguments(kubeflow: Cluster) -> None:
    client = kubeflow.client()
    experiment, version = uploaded(client)
    given = {"lr": 1e-3, "epochs": 2, "nochip": False, "bands": [1, 2], "rvlab_run": "s3://b/r"}
    made = client.create_run("lr=0.001 · 20261123-154201-000001", experiment, version, given)
    run = kubeflow.fake.runs[made]
    assert run.experiment_id == experiment
    assert run.pipeline_spec is None
    assert run.pipeline_version_reference == api.V2beta1PipelineVersionReference(*version)
    assert run.runtime_config.parameters == given
    assert [one.run_id for one in listed(client)] == [made]


def test_runs_are_listed_in_pages_newest_first(kubeflow: Cluster) -> None:
    client = kubeflow.client()
    experiment, version = uploaded(client)
    fake = kubeflow.fake
    made = [fake.add_run(experiment, fake.versions[version[1]]) for _ in range(450)]
    asked = fake.asked(LIST)
    runs = listed(client)
    assert fake.asked(LIST) - asked == 3
    assert sorted(run.run_id for run in runs) == sorted(made)
    assert runs == sorted(runs, key=lambda run: run.created_at, reverse=True)
    assert {run.finished_at for run in runs} == {datetime(1970, 1, 1, tzinfo=UTC)}
    assert {(run.state, run.error) for run in runs} == {(None, None)}


def test_pages_are_requested_as_needed(direct: Cluster) -> None:
    client = direct.client()
    started(client, "one", "two")
    before = direct.fake.asked(LIST)
    pages = client.iter_pages()
    assert direct.fake.asked(LIST) == before
    assert len(next(pages)) == 2
    assert direct.fake.asked(LIST) == before + 1


def test_a_terminated_run_is_canceling_and_then_canceled(kubeflow: Cluster) -> None:
    client = kubeflow.client()
    (run,) = started(client, "one")
    client.terminate(run)
    assert [one.state for one in listed(client)] == ["CANCELING"]
    kubeflow.fake.to(run, "CANCELED")
    assert [one.state for one in listed(client)] == ["CANCELED"]


@pytest.mark.parametrize("state", ["SUCCEEDED", "FAILED", "CANCELED", "CANCELING"])
def test_terminating_an_ended_run_is_not_an_error(kubeflow: Cluster, state: str) -> None:
    client = kubeflow.client()
    (run,) = started(client, "one")
    kubeflow.fake.to(run, state)
    client.terminate(run)
    assert kubeflow.fake.runs[run].state == state


def test_a_failed_run_is_retried(kubeflow: Cluster) -> None:
    client = kubeflow.client()
    (run,) = started(client, "one")
    kubeflow.fake.to(run, "FAILED")
    client.retry(run)
    (again,) = listed(client)
    assert (again.state, again.finished_at.year) == ("RUNNING", 1970)


# Created once.


@pytest.mark.parametrize("times", range(3))
def test_concurrent_clients_create_an_experiment_and_a_version_once(
    direct: Cluster, times: int
) -> None:
    def both(_: int) -> object:
        return uploaded(direct.client())

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(both, range(6)))
    assert len(set(found)) == 1
    fake = direct.fake
    assert (len(fake.experiments), len(fake.pipelines), len(fake.versions)) == (1, 1, 1)


def test_a_pipeline_is_uploaded_once_per_content(kubeflow: Cluster) -> None:
    client, uploads = kubeflow.client(), r"POST .*/pipelines/upload"
    first = client.ensure_version("town", "town-a", YAML.format(name="town"))
    assert client.ensure_version("town", "town-a", YAML.format(name="town")) == first
    assert kubeflow.fake.asked(uploads) == 1
    second = client.ensure_version("town", "town-b", YAML.format(name="town2"))
    assert (second[0], kubeflow.fake.asked(uploads)) == (first[0], 2)
    assert [v.name for v in kubeflow.fake.versions.values()] == ["town-a", "town-b"]
    specs = [v.pipeline_spec["pipelineInfo"]["name"] for v in kubeflow.fake.versions.values()]
    assert specs == ["town", "town2"]


def test_kubernetes_settings_are_a_second_document(kubeflow: Cluster) -> None:
    yaml = YAML.format(name="town") + "---\nplatforms:\n  kubernetes: {}\n"
    kubeflow.client().ensure_version("town", "town-a", yaml)
    (version,) = kubeflow.fake.versions.values()
    assert set(version.pipeline_spec) == {"pipeline_spec", "platform_spec"}


def test_the_namespace_of_a_shared_cluster_is_passed() -> None:
    with Kubeflow(TOKEN, namespaces=["team"]) as fake:
        client = KubeflowClient(profile_of(fake.url, namespace="team"))
        (run,) = started(client, "one")
        assert [one.run_id for one in listed(client)] == [run]
        assert {one.namespace for one in fake.experiments.values()} == {"team"}
        assert {one.namespace for one in fake.pipelines.values()} == {"team"}
        with pytest.raises(EngineError, match=r"403.*Check the profile's namespace, 'other'\."):
            KubeflowClient(profile_of(fake.url, namespace="other")).ensure_experiment("towns")
        with pytest.raises(EngineError, match=r"answered 400.*empty namespace"):
            KubeflowClient(profile_of(fake.url)).ensure_experiment("towns")


NAMES = ["100% of it", "lr=1e+16", "a+b %2B c", 'q"uote\\', "Ünïcødé · 山", "a&b=c;d#e"]


@pytest.mark.parametrize("name", NAMES)
def test_a_run_of_any_name_is_found_again(kubeflow: Cluster, name: str) -> None:
    """Use names with percent and plus signs, because Kubeflow URL-decodes a filter twice."""
    client = kubeflow.client()
    experiment, version = uploaded(client)
    made = client.create_run(name, experiment, version, {})
    assert client.create_run(name, experiment, version, {}) == made
    assert client.ensure_experiment(name) == client.ensure_experiment(name)
    assert list(counted(kubeflow.fake).values()) == [1]


def test_a_filter_survives_repeated_url_decoding() -> None:
    from urllib.parse import unquote_plus

    once = equals_filter("display_name", "50% + 1")
    assert unquote_plus(unquote_plus(once)) == once


# Lost connections.


@pytest.mark.parametrize("after", [False, True])
def test_a_lost_response_does_not_duplicate_a_run(direct: Cluster, after: bool) -> None:
    client = direct.client()
    experiment, version = uploaded(client)
    direct.fake.drop(CREATE, after=after)
    made = client.create_run("one", experiment, version, {})
    assert list(direct.fake.runs) == [made]


@pytest.mark.parametrize("after", [False, True])
def test_a_permanently_lost_connection_is_reported(direct: Cluster, after: bool) -> None:
    client = direct.client()
    experiment, version = uploaded(client)
    direct.fake.drop(CREATE, after=after, times=99)
    if after:  # the run exists, which is sufficient
        client.create_run("one", experiment, version, {})
    else:
        with pytest.raises(EngineError, match="was lost before it answered"):
            client.create_run("one", experiment, version, {})
    assert len(direct.fake.runs) == after


@pytest.mark.parametrize("trouble", ["429", "502", "503", "before", "after"])
@pytest.mark.parametrize("what", ["POST .*experiments", "POST .*upload", CREATE, ":terminate"])
def test_a_restart_of_the_api_server_is_outlasted(
    direct: Cluster, what: str, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart takes about a minute, in which every call fails several times."""
    monkeypatch.setattr(module, "MAX_RETRY_DELAY_S", 0.02)
    if trouble.isdigit():
        direct.fake.fail(what, int(trouble), times=9)
    else:
        direct.fake.drop(what, after=trouble == "after", times=9)
    patient = direct.profile.model_copy(update={"api_patience_s": 1e6})
    client = KubeflowClient(patient)
    (run,) = started(client, "one")
    client.terminate(run)
    assert list(direct.fake.runs) == [run]
    assert direct.fake.runs[run].state == "CANCELING"
    assert len(direct.fake.experiments) == len(direct.fake.versions) == 1


def test_the_pauses_between_attempts_are_random_grow_and_end_with_the_patience() -> None:
    pauses = KubeflowTransport.pauses
    few = list(pauses(0.0))
    assert len(few) == module.MIN_TRIES - 1
    many = list(itertools.islice(pauses(1e6), 20))
    assert len(set(many)) == 20
    longest = module.MAX_RETRY_DELAY_S
    for number, pause_s in enumerate(many):
        mean_s = min(module.RETRY_DELAY_S * 2**number, longest)
        assert 0.5 * mean_s <= pause_s <= 1.5 * mean_s


def test_the_patience_is_a_setting_of_a_minute() -> None:
    assert Profile().api_patience_s == 60
    assert KubeflowClient(profile_of("http://nowhere", api_patience_s=60)).read_patience_s == 10
    assert KubeflowClient(profile_of("http://nowhere")).read_patience_s == 0


def test_a_long_outage_is_logged_once_and_reported_with_its_duration(
    direct: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("rvlab.store.patience.LOG_AFTER_S", 0)
    monkeypatch.setattr(module, "READ_PATIENCE_S", 0)
    client = KubeflowClient(direct.profile.model_copy(update={"api_patience_s": 0.3}))
    direct.fake.fail("", 503, times=99)
    with pytest.raises(EngineError, match=r"answered 503: upstream\. It was tried for \d+ s\.$"):
        client.ensure_experiment("towns")
    direct.fake.troubles.clear()
    client.ensure_experiment("towns")
    texts = [text for text in caplog.messages if "Kubeflow" in text]
    assert len(texts) == 2
    assert texts[0].startswith("No answer from Kubeflow: Kubeflow at http://")
    assert texts[1].startswith("Kubeflow answers again, after ")


def test_a_run_that_arrived_is_found_by_the_next_call(direct: Cluster) -> None:
    client = direct.client()
    experiment, version = uploaded(client)
    direct.fake.drop(CREATE, after=True)
    direct.fake.drop(LIST, skip=1, times=99)
    with pytest.raises(EngineError, match="was lost"):
        client.create_run("one", experiment, version, {})
    direct.fake.troubles.clear()
    assert client.create_run("one", experiment, version, {}) in direct.fake.runs
    assert len(direct.fake.runs) == 1


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_transient_errors_are_retried_without_duplicates(direct: Cluster, status: int) -> None:
    client = direct.client()
    experiment, version = uploaded(client)
    direct.fake.fail(CREATE, status)
    if status == 504:  # a gateway gave up, and the run may still be created
        with pytest.raises(EngineError, match="answered 504"):
            client.create_run("one", experiment, version, {})
    made = client.create_run("one", experiment, version, {})
    assert list(direct.fake.runs) == [made]


@pytest.mark.parametrize("trouble", ["429", "502", "503", "504", "before", "after"])
@pytest.mark.parametrize(
    "what", ["GET .*experiments", "POST .*experiments", "POST .*pipelines$", "POST .*upload", LIST]
)
def test_every_repeatable_call_is_retried(direct: Cluster, what: str, trouble: str) -> None:
    if trouble.isdigit():
        direct.fake.fail(what, int(trouble))
    else:
        direct.fake.drop(what, after=trouble == "after")
    client = direct.client()
    started(client, "one")
    listed(client)
    fake = direct.fake
    made = (fake.experiments, fake.pipelines, fake.versions, fake.runs)
    assert [len(one) for one in made] == [1, 1, 1, 1]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("what", ["terminate", "retry"])
def test_lost_responses_of_terminate_and_retry_are_handled(
    direct: Cluster, what: str, after: bool
) -> None:
    client = direct.client()
    (run,) = started(client, "one")
    direct.fake.to(run, "FAILED" if what == "retry" else "RUNNING")
    direct.fake.drop(f"POST .*:{what}", after=after)
    if what == "retry" and not after:
        with pytest.raises(EngineError, match="was lost"):
            client.retry(run)
    else:
        getattr(client, what)(run)
    expected = {"terminate": "CANCELING", "retry": "RUNNING" if after else "FAILED"}
    assert direct.fake.runs[run].state == expected[what]


def test_a_slow_response_is_not_requested_again(
    direct: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Start no second run, because the first may be created later."""
    client = direct.client()
    experiment, version = uploaded(client)
    create, given_up = Kubeflow.create_run, threading.Event()

    def slow(self: Kubeflow, request: Any) -> Any:
        self.lock.release()
        given_up.wait()
        self.lock.acquire()
        return create(self, request)

    routes = [(m, p, slow if c is create else c) for m, p, c in _routes()]
    monkeypatch.setattr("tests.kubeflow.fake._ROUTES", routes)
    with monkeypatch.context() as patch:
        patch.setattr(module, "RESPONSE_TIMEOUT_S", 0.5)
        with pytest.raises(EngineError, match=r"did not answer in 0.5 s"):
            client.create_run("one", experiment, version, {})
    assert direct.fake.asked(CREATE) == 1
    given_up.set()
    wait_until(lambda: direct.fake.runs)
    assert client.create_run("one", experiment, version, {}) in direct.fake.runs
    assert direct.fake.asked(CREATE) == 1


def _routes() -> list[Any]:
    from tests.kubeflow import fake

    return fake._ROUTES


# Reported errors.


def refusals(cluster: Cluster) -> list[tuple[str, Any]]:
    client = cluster.client()
    return [
        ("experiment", lambda: client.ensure_experiment("towns")),
        ("version", lambda: client.ensure_version("town", "town-1", YAML)),
        ("create", lambda: client.create_run("one", "e", ("p", "v"), {})),
        ("runs", lambda: listed(client)),
        ("terminate", lambda: client.terminate("r")),
        ("retry", lambda: client.retry("r")),
    ]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, rf"answered 401: upstream\. Is the token in \${TOKEN_ENV} still valid\?$"),
        (403, r"answered 403: upstream\. Check the profile's namespace, None\.$"),
        (429, r"answered 429: upstream\.$"),
        (500, r"answered 500: upstream\.$"),
        (503, r"answered 503: upstream\.$"),
    ],
)
def test_refusals_are_one_sentence_without_the_token(
    direct: Cluster, status: int, said: str
) -> None:
    direct.fake.fail("", status, times=9999)
    for name, call in refusals(direct):
        with pytest.raises(EngineError, match=said) as caught:
            call()
        assert TOKEN not in str(caught.value), name
        assert "\n" not in str(caught.value)


def test_a_token_that_a_proxy_repeats_is_not_shown(direct: Cluster) -> None:
    direct.fake.fail("", 401, times=99, message=f"Bearer {TOKEN} has expired")
    with pytest.raises(EngineError, match=r"Bearer \*\*\* has expired"):
        direct.client().ensure_experiment("towns")


def test_long_messages_are_shortened(direct: Cluster) -> None:
    direct.fake.fail("", 500, times=99, message="goroutine\n\t" * 500)
    with pytest.raises(EngineError) as caught:
        direct.client().ensure_experiment("towns")
    assert len(str(caught.value)) < 400


def test_status_500_is_not_retried(direct: Cluster) -> None:
    direct.fake.fail("", 500, times=99)
    with pytest.raises(EngineError):
        direct.client().ensure_experiment("towns")
    assert direct.fake.asked() == 1


def test_an_unknown_version_is_reported(direct: Cluster) -> None:
    client = direct.client()
    with pytest.raises(EngineError, match="answered 500: Failed to create a new run"):
        client.create_run("one", client.ensure_experiment("towns"), ("no", "such"), {})
    assert direct.fake.asked(CREATE) == 1


def test_terminating_a_missing_run_is_not_an_error_but_retrying_is(direct: Cluster) -> None:
    client = direct.client()
    client.terminate("no such run")
    with pytest.raises(EngineError, match=r"answered 404.*Run gone not found"):
        client.retry("gone")


def test_a_running_run_cannot_be_retried(direct: Cluster) -> None:
    client = direct.client()
    (run,) = started(client, "one")
    direct.fake.to(run, "RUNNING")
    with pytest.raises(EngineError, match="does not allow"):
        client.retry(run)


@pytest.mark.parametrize(
    ("status", "kind"), [(200, "text/html"), (302, "text/html"), (200, "application/json")]
)
def test_a_login_page_is_not_an_empty_list_of_runs(direct: Cluster, status: int, kind: str) -> None:
    """Raise instead: with an expired login, every run would otherwise be lost."""
    page = "<!doctype html><title>Sign in</title>" if kind == "text/html" else "[]"
    moved = {"Location": f"{direct.fake.url}/dex/auth"} if status == 302 else {}
    if kind == "text/html":
        direct.fake.fail("", status, times=99, type=kind, message=page, headers=moved)
    else:
        direct.fake.fail("", status, times=99, type="application/json; x", message=page)
    for _, call in refusals(direct):
        with pytest.raises(EngineError, match="is not Kubeflow's API"):
            call()


def test_an_invalid_version_is_reported(direct: Cluster) -> None:
    with pytest.raises(EngineError, match="answered 400: Failed to create a pipeline version"):
        direct.client().ensure_version("town", "town-1", "hello: world\n")


def test_a_closed_port_is_reported_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_DELAY_S", 0.5)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        client = KubeflowClient(profile_of(f"http://127.0.0.1:{free.getsockname()[1]}"))
    start = time.monotonic()
    with pytest.raises(EngineError, match=r"cannot be reached. Check the port forwarding"):
        client.ensure_experiment("towns")
    assert time.monotonic() - start < 120


def test_https_to_a_plain_http_server_is_reported(direct: Cluster) -> None:
    client = KubeflowClient(profile_of(direct.fake.url.replace("http", "https")))
    with pytest.raises(EngineError, match=r"is not Kubeflow's API: SSLError"):
        client.ensure_experiment("towns")


def test_a_private_certificate_is_trusted_if_its_authority_is_named(
    direct: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pem = tmp_path / "house.pem"
    pem.write_bytes(_certificate())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server = direct.fake._server
    assert server
    server.socket = context.wrap_socket(server.socket, server_side=True)
    for name in module.CA_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    profile = profile_of(direct.fake.url.replace("http", "https"))
    with pytest.raises(EngineError, match=r"is not trusted\. Set \$SSL_CERT_FILE to the file"):
        KubeflowClient(profile).ensure_experiment("towns")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(pem))
    assert KubeflowClient(profile).ensure_experiment("towns") in direct.fake.experiments
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "no such file"))
    assert KubeflowClient(profile).ensure_experiment("towns") in direct.fake.experiments


@pytest.mark.slow
def test_an_address_that_drops_packets_is_reported_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a firewall by a host whose backlog is full."""
    monkeypatch.setattr(module, "RETRY_DELAY_S", 0.5)
    with socket.socket() as full, socket.socket() as one, socket.socket() as two:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        one.connect(full.getsockname())
        two.setblocking(False)
        two.connect_ex(full.getsockname())
        client = KubeflowClient(profile_of(f"http://127.0.0.1:{full.getsockname()[1]}"))
        start = time.monotonic()
        with pytest.raises(EngineError, match="cannot be reached"):
            client.ensure_experiment("towns")
        assert time.monotonic() - start < 120


# The token.


def test_the_token_is_never_shown(
    direct: Cluster, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    client = direct.client()
    started(client, "one")
    direct.fake.forbidden = True
    with pytest.raises(EngineError) as caught:
        client.ensure_experiment("towns")
    shown = [caplog.text, *capfd.readouterr(), repr(client), repr(direct.profile)]
    shown += [str(caught.value), repr(vars(client)), str(caught.value.__cause__)]
    assert not [one for one in shown if TOKEN in one]
    assert TOKEN.encode() not in direct.fake.sent()


def test_a_changed_token_is_read_again(direct: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    client = direct.client()
    client.ensure_experiment("towns")
    direct.fake.token = "another"
    with pytest.raises(EngineError, match="answered 401"):
        client.ensure_experiment("towns")
    monkeypatch.setenv(TOKEN_ENV, "another")
    client.ensure_experiment("towns")


def test_a_token_that_is_not_set_is_reported(
    direct: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TOKEN_ENV)
    with pytest.raises(
        EngineError, match=rf"\${TOKEN_ENV}, which must contain the token, is not set"
    ):
        direct.client().ensure_experiment("towns")
    assert direct.fake.asked() == 0


def test_a_standalone_cluster_needs_no_token() -> None:
    with Kubeflow() as fake:
        assert KubeflowClient(Profile(host=fake.url)).ensure_experiment("towns") in fake.experiments


def test_inside_a_cluster_the_address_and_the_token_are_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(EngineError, match=r"Kubeflow's address is unknown\. Set `host`"):
        KubeflowClient(Profile())
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert KubeflowClient(Profile()).host == "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    with Kubeflow(TOKEN) as fake:
        monkeypatch.setattr(module, "SERVICE_URL", fake.url)
        client = KubeflowClient(Profile())
        assert client.ensure_experiment("towns") in fake.experiments
        fake.token = "next hour's"
        (tmp_path / "token").write_text("next hour's\n")
        client.ensure_experiment("towns")


# The fake behaves as Kubeflow.


def test_the_fake_returns_pages_as_kubeflow_does(kubeflow: Cluster) -> None:
    settings = api.Configuration(host=kubeflow.profile.host)
    settings.api_key["authorization"] = f"Bearer {TOKEN}"
    service = api.RunServiceApi(api.ApiClient(settings))
    started(kubeflow.client(), *(f"run {i}" for i in range(30)))
    page = service.run_service_list_runs(page_size=500)
    assert (len(page.runs), page.total_size, page.next_page_token) == (30, 30, None)
    page = service.run_service_list_runs(sort_by="created_at desc")
    assert (len(page.runs), page.total_size) == (20, 30)
    rest = service.run_service_list_runs(sort_by="created_at desc", page_token=page.next_page_token)
    assert len({one.run_id for one in (*page.runs, *rest.runs)}) == 30
    for asked in (
        {"page_token": page.next_page_token, "filter": equals_filter("display_name", "run 1")},
        {"page_token": page.next_page_token, "sort_by": "created_at asc"},
        {"page_token": "nonsense"},
        {"filter": equals_filter("parameters.lr", "1")},
        {"filter": "{"},
        {"sort_by": "metrics.f1"},
        {"page_size": -1},
    ):
        with pytest.raises(api.ApiException) as caught:
            service.run_service_list_runs(**asked)
        assert caught.value.status == 400, asked


def test_prism_reports_violations_of_the_description(checked: tuple[Kubeflow, str]) -> None:
    fake, url = checked
    fake.clear()
    client = KubeflowClient(profile_of(url))
    (run,) = started(client, "one")
    fake.to(run, "DONE")
    with pytest.raises(EngineError, match="answered 500") as caught:
        listed(client)
    assert "runs.0.state must be equal to one of the allowed values" in str(caught.value.__cause__)
    with pytest.raises(api.ApiException, match="page_size must be integer"):
        client._service("Run")[1].run_service_list_runs(page_size="many")
