"""KubeRay's files: pods by Kubernetes' own schema, the application by Ray's, and the rest by what KubeRay documents."""

import re
import tomllib
from importlib import import_module
from typing import Any

import kubernetes_validate
import pytest
import yaml

from engine import cluster as cluster_module
from engine import ray_cluster
from engine.server.settings import Settings, load_settings
from tests.deploy.dockerfile import ROOT, read_stages

FOLDER = ROOT / "deploy" / "kuberay"
# Of RayService, RayCluster and its groups, from KubeRay's types as of 1.5.1; what a file may have, not all there is.
SERVICE = {"serveConfigV2", "rayClusterConfig", "rayServiceUpgradeStrategy", "serveService"}
CLUSTER = {
    *("rayVersion", "authOptions", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec", "workerGroupSpecs"),
    "gcsFaultToleranceOptions",
}
HEAD = {"rayStartParams", "template", "serviceType", "headService"}
WORKERS = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template", "idleTimeoutSeconds"}


def load(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text())
    return found


def cluster() -> dict[str, Any]:
    found: dict[str, Any] = load("rayservice.yaml")["spec"]["rayClusterConfig"]
    return found


def pods() -> list[dict[str, Any]]:
    groups = [cluster()["headGroupSpec"], *cluster()["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups] + [load("first-key.yaml")["spec"]["template"]["spec"]]


def serve_config() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(load("rayservice.yaml")["spec"]["serveConfigV2"])
    return found


def test_kubernetes_would_take_the_job_and_every_pod() -> None:
    kubernetes_validate.validate(load("first-key.yaml"), "1.34", strict=True)
    for pod in pods():
        kubernetes_validate.validate(
            {"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": pod}, "1.34", strict=True
        )


def test_fields_are_those_of_kuberay() -> None:
    service = load("rayservice.yaml")
    assert (service["apiVersion"], service["kind"]) == ("ray.io/v1", "RayService")
    assert service["spec"].keys() <= SERVICE and cluster().keys() <= CLUSTER
    assert cluster()["headGroupSpec"].keys() <= HEAD
    assert all(group.keys() <= WORKERS for group in cluster()["workerGroupSpecs"])
    assert cluster()["authOptions"] == {"mode": "token"}
    assert cluster()["autoscalerOptions"].keys() <= {"idleTimeoutSeconds", "upscalingMode", "version"}


def test_nobody_runs_as_root_or_writes_beside_their_volumes() -> None:
    user = int(read_stages()["cpu"].last("USER").partition(":")[0])
    for pod in pods():
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == user
        mounted = {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] and context["capabilities"] == {"drop": ["ALL"]}
            assert not context["allowPrivilegeEscalation"]
            assert container["image"].removeprefix("hiper:") in read_stages()


def test_volumes_lie_where_the_image_looks() -> None:
    image = read_stages()["cpu"].environment
    for pod in pods()[:2]:
        places = {mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
        assert {image["HIPER_DATA_DIR"], image["HIPER_BUNDLE"]} < places
        assert pod["terminationGracePeriodSeconds"] > Settings.model_fields["drain_s"].default


def test_the_secret_holds_settings_and_names_in_all_files_agree() -> None:
    head = re.sub(r"\\\n#\s*", "", (FOLDER / "rayservice.yaml").read_text().split("\n\n", 1)[0])
    ours = {name.removeprefix("HIPER_").lower() for name in re.findall(r"--from-literal=(HIPER_\w+)", head)}
    assert ours == {"store_url", "images_url"} <= Settings.model_fields.keys()
    secrets = {source["secretRef"]["name"] for pod in pods() for source in pod["containers"][0]["envFrom"]}
    assert secrets == set(re.findall(r"create secret generic ([\w-]+)", head))
    for path in re.findall(r"kubectl apply -f (\S+)", head):
        assert (ROOT / path).is_file()
    service = load("rayservice.yaml")["metadata"]["name"]
    assert f"port-forward service/{service}-serve-svc 8910:{serve_config()['http_options']['port']}" in head


def test_ray_is_the_one_that_is_pinned() -> None:
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    assert cluster()["rayVersion"] == pins["ray"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert any(requirement.startswith("ray[") and "serve" in requirement for requirement in project["ray"])


def test_ray_would_deploy_the_application() -> None:
    schema = pytest.importorskip("ray.serve.schema")
    [application] = schema.ServeDeploySchema.model_validate(serve_config()).applications
    module, _, name = application.import_path.partition(":")
    assert callable(getattr(import_module(module), name))
    settings = load_settings(**application.args)
    assert application.args.keys() <= Settings.model_fields.keys() and settings.ray and settings.ray_address == "auto"
    start = pytest.importorskip("ray.scripts.scripts").start
    known = {option for parameter in start.params for option in parameter.opts}
    for group in (cluster()["headGroupSpec"], *cluster()["workerGroupSpecs"]):
        assert {f"--{name}" for name in group["rayStartParams"]} <= known


def test_rays_own_variables_are_those_of_a_cluster_that_hiper_serve_starts() -> None:
    wanted = {**ray_cluster._REQUIRED, **dict([ray_cluster._NICENESS]), **cluster_module._WISHED}
    # KubeRay sets RAY_AUTH_MODE itself, as authOptions says.
    assert cluster()["authOptions"]["mode"] == "token"
    for pod in pods()[:2]:
        assert {entry["name"]: entry["value"] for entry in pod["containers"][0]["env"]} == wanted


def test_there_is_a_machine_for_every_engine() -> None:
    [engines] = cluster()["workerGroupSpecs"]
    settings = load_settings(**serve_config()["applications"][0]["args"])
    assert f"{engines['minReplicas']}:{engines['maxReplicas']}" == settings.replicas
    [container] = engines["template"]["spec"]["containers"]
    assert int(container["resources"]["limits"]["cpu"]) == settings.threads
    assert cluster()["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
