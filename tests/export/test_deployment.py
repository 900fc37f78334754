"""Tests of the deployment files: everything that can be read without a server is read."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import text_format

from ssh_tf.cli import parser
from ssh_tf.config import ExportConfig

EXPORT = Path(__file__).parents[2] / "export"
COMPOSE = yaml.safe_load((EXPORT / "compose.yaml").read_text())
RAY_JOB = yaml.safe_load((EXPORT / "ray" / "rayjob.yaml").read_text())
KUBERNETES = list(yaml.safe_load_all((EXPORT / "kubernetes" / "ssh.yaml").read_text()))


def kind(name: str) -> Any:
    (found,) = [item for item in KUBERNETES if item["kind"] == name]
    return found


@pytest.mark.parametrize("source", ["file", "kubernetes"])
def test_models_config_is_one_that_the_server_parses(source: str):
    model_server_config_pb2 = pytest.importorskip(
        "tensorflow_serving.config.model_server_config_pb2"
    )
    text = (EXPORT / "serving" / "models.config").read_text()
    if source == "kubernetes":
        text = kind("ConfigMap")["data"]["models.config"]
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == (
        "ssh",
        "/models/ssh",
        "tensorflow",
    )
    assert model.model_version_policy.latest.num_versions == 2


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        (
            "batching",
            {"max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads"},
        ),
        ("monitoring", {"prometheus_config"}),
    ],
)
def test_other_server_files_have_known_fields_and_closed_braces(name: str, fields: set[str]):
    # Their messages are in no package for Python.
    text = re.sub(r"#.*", "", (EXPORT / "serving" / f"{name}.config").read_text())
    assert set(re.findall(r"^(\w+)\s*\{", text, re.M)) == fields
    assert text.count("{") == text.count("}")


@pytest.mark.parametrize("service", ["serving", "serving-gpu"])
def test_compose_serves_read_only_unreachable_and_limited(service: str):
    serving = COMPOSE["services"][service]
    assert re.fullmatch(r"tensorflow/serving:\d+\.\d+\.\d+(-gpu)?", serving["image"])
    assert "ports" not in serving
    assert all(volume.endswith(":ro") for volume in serving["volumes"])
    assert serving["read_only"]
    assert serving["mem_limit"]
    assert COMPOSE["networks"]["inside"]["internal"]
    for flag in serving["command"]:
        path = flag.partition("=/config/")[2]
        assert not path or (EXPORT / "serving" / path).is_file()


def test_compose_publishes_the_proxy_alone_and_on_this_machine():
    published = {name: s["ports"] for name, s in COMPOSE["services"].items() if "ports" in s}
    assert published == {"proxy": ["127.0.0.1:8443:8443"]}


def test_kubernetes_objects_fit_together():
    deployment, service = kind("Deployment")["spec"], kind("Service")["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert deployment["selector"]["matchLabels"] == labels == service["selector"]
    (container,) = deployment["template"]["spec"]["containers"]
    ports = {port["name"] for port in container["ports"]}
    assert {port["targetPort"] for port in service["ports"]} == ports
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
    assert {"requests", "limits"} == set(container["resources"])
    volumes = {volume["name"] for volume in deployment["template"]["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes
    files = set(kind("ConfigMap")["data"])
    named = {flag.split("/config/")[1] for flag in container["args"] if "/config/" in flag}
    assert named == files


def test_the_proxy_lets_the_largest_image_through():
    text = (EXPORT / "serving" / "nginx.conf").read_text()
    mebibytes = int(re.search(r"client_max_body_size (\d+)m;", text)[1])
    base64 = ExportConfig().max_bytes * 4 / 3 / 2**20
    assert base64 < mebibytes < base64 + 2


@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx")
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_the_proxy_s_own_checker_accepts_its_configuration(tmp_path: Path):
    names = ["-keyout", "tls.key", "-out", "tls.crt", "-subj", "/CN=test", "-days", "1"]
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *names]
    subprocess.run(new, check=True, cwd=tmp_path, capture_output=True)
    (tmp_path / "users").write_text("someone:$apr1$x$y\n")
    text = (EXPORT / "serving" / "nginx.conf").read_text()
    text = text.replace("/etc/nginx/tls", str(tmp_path)).replace("/etc/nginx/", f"{tmp_path}/")
    text = text.replace("server serving:8501", "server 127.0.0.1:8501")
    (tmp_path / "nginx.conf").write_text(f"pid {tmp_path}/pid;\n{text}")
    check = ["nginx", "-t", "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path)]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_flag_in_the_examples_is_one_of_the_server():
    known = {
        "port",
        "rest_api_port",
        "model_config_file",
        "enable_batching",
        "batching_parameters_file",
        "monitoring_config_file",
        "rest_api_timeout_in_ms",
        "enable_profiler",
    }
    (container,) = kind("Deployment")["spec"]["template"]["spec"]["containers"]
    services = [COMPOSE["services"][name] for name in ("serving", "serving-gpu")]
    flags = [*container["args"]]
    for service in services:
        flags += service["command"] + service["entrypoint"][1:]
    assert {flag.lstrip("-").split("=")[0] for flag in flags} <= known


# The fields of KubeRay's types (ray.io/v1) that a job like ours can have; others would be refused.
RAY_FIELDS = {
    "spec": {
        *("entrypoint", "backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished"),
        *("rayClusterSpec", "activeDeadlineSeconds", "submissionMode", "suspend"),
    },
    "cluster": {"rayVersion", "headGroupSpec", "workerGroupSpecs"},
    "head": {"rayStartParams", "template", "serviceType"},
    "worker": {
        *("groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"),
    },
}


def test_the_ray_job_has_kuberay_s_fields_and_what_they_require():
    spec = RAY_JOB["spec"]
    cluster = spec["rayClusterSpec"]
    head, (worker,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert (RAY_JOB["apiVersion"], RAY_JOB["kind"]) == ("ray.io/v1", "RayJob")
    for name, fields in (("spec", spec), ("cluster", cluster), ("head", head), ("worker", worker)):
        assert set(fields) <= RAY_FIELDS[name], name
    assert worker["minReplicas"] <= worker["replicas"] <= worker["maxReplicas"]
    for group in (head, worker):
        # `ray start` takes them as text.
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        assert group["rayStartParams"]["disable-usage-stats"] == "true"
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert container["resources"]["requests"] == container["resources"]["limits"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {
            volume["name"] for volume in pod["volumes"]
        }
        assert container["image"] == "registry.example.org/ssh-tf-ray:1"


def test_the_ray_job_runs_a_command_of_ours_with_the_ray_that_is_tested():
    spec = RAY_JOB["spec"]
    _, _, command = shlex.split(spec["entrypoint"])
    words = [word.replace("$RAY_ADDRESS", "10.0.0.1:6379") for word in shlex.split(command)]
    arguments = parser().parse_args(words[1:])
    assert (words[0], arguments.ray, arguments.parquet) == (
        "ssh-tf",
        "10.0.0.1:6379",
        Path("/data/rows"),
    )
    head = spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    assert all(path.startswith("/data/") for path in arguments.paths)
    assert head["volumeMounts"][0]["mountPath"] == "/data"
    pins = (EXPORT.parent / "constraints.txt").read_text()
    assert f"ray=={spec['rayClusterSpec']['rayVersion']}\n" in pins
