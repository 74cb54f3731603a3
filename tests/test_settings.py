"""Profiles of rvlab.toml, and the variables that override them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rvlab.errors import NotFound, SpecError
from rvlab.settings import Profile, StepResources, Toleration, load_profile

LAB = """
[profile.lab-cluster]
host = "http://localhost:8080"
image = "registry.example/rvlab:0.1.0"
store = "s3://bucket/runs"

[profile.lab-cluster.s3]
cluster_endpoint = "http://seaweedfs.kubeflow:9000"
secret = "mlpipeline-minio-artifact"

[profile.lab-cluster.steps.default]
memory = "2Gi"

[profile.lab-cluster.steps.train]
gpu = 1
memory = "16Gi"
shm = "4Gi"
node_selector = { pool = "gpu" }
tolerations = [{ key = "gpu", operator = "Exists" }]
env = { OMP_NUM_THREADS = "4" }
"""
CI = '\n[profile.ci]\nhost = "https://kubeflow.example"\n'

Write = Callable[[str], Path]


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove the user's variables, and any file in a parent folder."""
    for name in [name for name in os.environ if name.upper().startswith("RVLAB_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def file(text: str) -> Path:
        path = tmp_path / "rvlab.toml"
        path.write_text(text)
        return path

    return file


def test_a_single_profile_is_the_default(write: Write) -> None:
    write(LAB)
    made = load_profile()
    assert made.host == "http://localhost:8080"
    assert made.image == "registry.example/rvlab:0.1.0"
    assert made.s3.secret == "mlpipeline-minio-artifact"
    assert made.s3.access_key == "accesskey"
    train = made.resources("train")
    assert (train.gpu, train.memory, train.shm) == (1, "16Gi", "4Gi")
    assert train.node_selector == {"pool": "gpu"}
    assert train.tolerations == (Toleration(key="gpu", operator="Exists"),)
    assert train.env == {"OMP_NUM_THREADS": "4"}
    assert made.resources("chip") == StepResources(memory="2Gi")


def test_without_a_file_the_environment_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_profile() == Profile()
    monkeypatch.setenv("RVLAB_HOST", "http://here:1")
    monkeypatch.setenv("RVLAB_TOKEN_ENV", "MY_TOKEN")
    assert (load_profile().host, load_profile().token_env) == ("http://here:1", "MY_TOKEN")


def test_a_file_in_a_parent_folder_is_found(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(LAB)
    (tmp_path / "a/b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a/b")
    assert load_profile().host == "http://localhost:8080"
    (tmp_path / "a/rvlab.toml").write_text(CI)
    assert load_profile().host == "https://kubeflow.example"


def test_the_file_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = tmp_path / "elsewhere.toml"
    named.write_text(CI)
    assert load_profile(path=named).host == "https://kubeflow.example"
    monkeypatch.setenv("RVLAB_CONFIG", str(named))
    assert load_profile().host == "https://kubeflow.example"
    monkeypatch.setenv("RVLAB_CONFIG", str(tmp_path / "nowhere.toml"))
    with pytest.raises(NotFound, match=r"\$RVLAB_CONFIG names '.*nowhere.toml', which is not a"):
        load_profile()


def test_one_of_several_profiles_is_selected(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write(LAB + CI)
    assert load_profile("ci").host == "https://kubeflow.example"
    monkeypatch.setenv("RVLAB_PROFILE", "lab-cluster")
    assert load_profile().host == "http://localhost:8080"
    assert load_profile("ci").host == "https://kubeflow.example"


def test_several_profiles_without_a_selection_are_an_error(write: Write) -> None:
    write(LAB + CI)
    with pytest.raises(NotFound, match=r"Unknown profile 'default' in .*There are 'ci', 'lab"):
        load_profile()
    write(LAB + CI + '[profile.default]\nimage = "mine:1"\n')
    assert load_profile().image == "mine:1"


def test_a_misspelt_profile_is_an_error(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(LAB)
    with pytest.raises(NotFound, match=r"'lab-clustr'.*Did you mean 'lab-cluster'\?") as caught:
        load_profile("lab-clustr")
    assert str(path) in str(caught.value)
    path.unlink()
    monkeypatch.setenv("RVLAB_PROFILE", "ci")
    with pytest.raises(NotFound, match=r"Unknown profile 'ci' in any rvlab.toml in this folder"):
        load_profile()


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("RVLAB_IMAGE", "mine:2", lambda p: p.image == "mine:2"),
        ("RVLAB_MAX_PARALLEL", "3", lambda p: p.max_parallel == 3),
        ("RVLAB_NAMESPACE", "team", lambda p: p.namespace == "team"),
        ("RVLAB_S3__SECRET", "other", lambda p: p.s3.secret == "other"),
        ("RVLAB_STEPS__TRAIN__GPU", "2", lambda p: p.resources("train").gpu == 2),
        ("RVLAB_STEPS__TRAIN__SHM", "8Gi", lambda p: p.resources("train").shm == "8Gi"),
        ("RVLAB_STEPS__PREDICT__CPU", "500m", lambda p: p.resources("predict").cpu == "500m"),
        ("RVLAB_STEPS__DEFAULT__RETRIES", "2", lambda p: p.resources("eval").retries == 2),
        ("RVLAB_IMAGE_PULL_SECRETS", '["a", "b"]', lambda p: p.image_pull_secrets == ("a", "b")),
    ],
)
def test_the_environment_takes_precedence_over_the_file(
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    found: Callable[[Profile], bool],
) -> None:
    write(LAB)
    monkeypatch.setenv(name, value)
    made = load_profile()
    assert found(made)
    assert made.host == "http://localhost:8080"
    assert made.s3.cluster_endpoint == "http://seaweedfs.kubeflow:9000"
    assert made.resources("train").memory == "16Gi"


def test_other_variables_of_rvlab_are_ignored(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(LAB)
    monkeypatch.setenv("RVLAB_HOME", "/tmp/somewhere")
    monkeypatch.setenv("RVLAB_CONFIG", str(Path("rvlab.toml").resolve()))
    assert load_profile().host == "http://localhost:8080"


def one(line: str, table: str = "profile.a") -> str:
    return f"[{table}]\n{line}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (one('imge = "x"'), r"\[profile.a\] in .* has no setting 'imge'. Did you mean 'image'"),
        (one('secrt = "x"', "profile.a.s3"), r"no setting 's3.secrt'. Did you mean 'secret'"),
        (
            one('memroy = "1Gi"', "profile.a.steps.train"),
            r"no setting 'steps.train.memroy'. Did you mean 'memory'",
        ),
        (one("gpu = 1", "profile.a.steps.trian"), r"no step 'trian'. Did you mean 'train'"),
        (
            one("x = 1", "profiles.a"),
            r"has the unknown key 'profiles'; use \[profile.NAME\] and \[read\]",
        ),
        ("profile = 1", r"must contain tables \[profile.NAME\]"),
        ("[profile]\na = 1", r"must contain tables \[profile.NAME\]"),
        ("[profile.a", "cannot be read"),
    ],
)
def test_unknown_keys_are_an_error(write: Write, text: str, said: str) -> None:
    path = write(text)
    with pytest.raises(SpecError, match=said) as caught:
        load_profile()
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (one('host = "localhost:8080"'), "host is 'localhost:8080'"),
        (one('max_parallel = "many"'), "max_parallel is 'many'"),
        (one("max_parallel = 0"), "max_parallel is 0"),
        (one('image_pull_policy = "Sometimes"'), "image_pull_policy is 'Sometimes'"),
        (one("memory = 16", "profile.a.steps.train"), "steps.train.memory is 16"),
        (one("gpu = -1", "profile.a.steps.train"), "steps.train.gpu is -1"),
        (one("timeout_s = 0", "profile.a.steps.train"), "steps.train.timeout_s is 0"),
        (one('endpoint = "s3.example"', "profile.a.s3"), "s3.endpoint is 's3.example'"),
        (one("steps = 1"), "steps is 1"),
        (one('tolerations = [{effect = "Never"}]', "profile.a.steps.train"), "effect is 'Never'"),
    ],
)
def test_values_of_a_wrong_type_are_an_error(write: Write, text: str, where: str) -> None:
    write(text)
    with pytest.raises(SpecError, match=rf"\[profile.a\] in .*{where} \("):
        load_profile()


@pytest.mark.parametrize(
    ("table", "text", "said"),
    [
        ("", 'image = "my image:1"', "image: 'my image:1' is not the name of an image, such as"),
        ("", 'image = ""', "image: '' is not the name of an image"),
        ("", 'image = "Registry/Worker:1"', "image: 'Registry/Worker:1' is not the name of an"),
        ("", 'image = "worker:0.1 "', "image: 'worker:0.1 ' is not the name of an image"),
        ("", 'namespace = "My Team"', "namespace: 'My Team' is not a namespace of Kubernetes"),
        ("", 'namespace = "a.b"', "namespace: 'a.b' is not a namespace of Kubernetes"),
        ("", 'service_account = "a_b"', "service_account: 'a_b' is not a name in Kubernetes"),
        ("", 'image_pull_secrets = ["a b"]', "image_pull_secrets.0: 'a b' is not a name in"),
        ("", 'token_env = "$TOKEN"', r"token_env: '\$TOKEN' is not the name of a variable"),
        (".s3", 'secret = "My_Secret"', "s3.secret: 'My_Secret' is not a name in Kubernetes"),
        (".s3", 'access_key = "a/b"', "s3.access_key: 'a/b' is not a key of a secret"),
        (".s3", 'region = "eu central"', "s3.region is 'eu central'"),
        (".steps.train", 'memory = "16 GB"', "memory: '16 GB' is not an amount of memory"),
        (".steps.train", 'memory = "16K"', "memory: '16K' is not an amount of memory"),
        (".steps.train", 'memory = "16"', "memory: '16' is 16 bytes, too few .* '16Gi'?"),
        (".steps.train", 'memory = "8k"', "memory: '8k' is 8000 bytes, .* more, such as '16Gi'"),
        (".steps.train", 'memory = "500m"', "memory: '500m' is not an amount of memory"),
        (".steps.train", 'cpu = "4Gi"', "cpu: '4Gi' is not a number of processors"),
        (".steps.train", 'cpu = "0"', "cpu: '0' is not a number of processors"),
        (".steps.train", 'gpu_type = "A10"', "gpu_type: 'A10' is not the name of a resource"),
        (".steps.train", 'env = {"A B" = "1"}', "'A B' is not the name of a variable"),
        (".steps.train", 'env = {A = "{{x}}"}', "the value of A contains '{{', which Argo would"),
        (".steps.train", 'node_selector = {"a b" = "1"}', "'a b' is not a label of Kubernetes"),
        (".steps.train", 'node_selector = {a = "1 2"}', "'1 2' is not the value of a label"),
        (
            ".steps.train",
            'tolerations = [{key = "a", operator = "Exists", value = "1"}]',
            "the operator Exists has no value, got '1'",
        ),
        (".steps.train", "tolerations = [{}]", "the operator Equal needs a key"),
        (
            ".steps.train",
            'shm = "4Gi"\nmemory = "2Gi"',
            "shm of the step train is '4Gi', which counts as memory, so .*, '2Gi'",
        ),
    ],
)
def test_values_that_would_fail_only_in_a_pod_are_an_error(
    write: Write, table: str, text: str, said: str
) -> None:
    path = write(one(text, f"profile.a{table}"))
    with pytest.raises(SpecError, match=said) as caught:
        load_profile()
    assert str(caught.value).startswith(f"[profile.a] in {path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "image",
    [
        "worker",
        "worker:0.1.0-cu130",
        "localhost:5000/team/rvlab_worker:v1",
        "Registry.example/a/b@sha256:" + "0" * 64,
        "ghcr.io/team/rvlab--worker:latest@sha256:" + "a" * 64,
    ],
)
def test_every_valid_image_name_is_accepted(image: str) -> None:
    assert Profile(image=image).image == image


def test_shared_memory_from_the_default_step_counts_as_well(write: Write) -> None:
    write(
        one('shm = "2Gi"', "profile.a.steps.default")
        + one('memory = "1Gi"', "profile.a.steps.train")
    )
    with pytest.raises(SpecError, match="shm of the step train is '2Gi'"):
        load_profile()


def test_an_invalid_variable_is_named(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RVLAB_MAX_PARALLEL", "many")
    write(LAB)
    with pytest.raises(SpecError, match=r"^\$RVLAB_MAX_PARALLEL: max_parallel is 'many' \("):
        load_profile()
    monkeypatch.setenv("RVLAB_MAX_PARALLEL", "2")
    monkeypatch.setenv("RVLAB_STEPS__TRAIN__GPUS", "2")
    with pytest.raises(SpecError, match=r"^\$RVLAB_STEPS__TRAIN__GPUS has no .*'gpu'"):
        load_profile()


def test_a_variable_that_is_not_json_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RVLAB_IMAGE_PULL_SECRETS", "regcred")
    with pytest.raises(SpecError, match=r"^\$RVLAB_IMAGE_PULL_SECRETS is 'regcred', but it must"):
        load_profile()


def test_a_misspelt_step_in_a_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RVLAB_STEPS__TRIAN__GPU", "1")
    with pytest.raises(SpecError, match=r"no step 'trian'. Did you mean 'train'"):
        load_profile()


@pytest.mark.parametrize("name", ["AWS_SECRET_ACCESS_KEY", "aws_session_token"])
def test_keys_of_the_bucket_are_refused_and_not_shown(write: Write, name: str) -> None:
    write(f'[profile.a.steps.train]\nenv = {{ {name} = "very-secret" }}\n')
    with pytest.raises(SpecError, match=rf"steps.train.env: {name} would be in the") as caught:
        load_profile()
    with pytest.raises(ValueError, match="would be in the pipeline's YAML") as direct:
        StepResources(env={name: "very-secret"})
    messages = [str(e) for e in (caught.value, caught.value.__cause__, direct.value)]
    assert not [text for text in messages if "very-secret" in text]


def test_a_profile_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Profile().image = "x"
