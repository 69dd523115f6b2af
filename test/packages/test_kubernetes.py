"""The Kubernetes manifests: valid, fitting together, and run as the kubelet would run them."""

from __future__ import annotations

import copy
import subprocess
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import envoy_config
from client import request
from kustomization import Object, build, read
from manifest_checks import KUBERNETES, problems
from rig import BINARY, TOP, Envoy, Process, eventually, free_port, http_get
from server_checks import seconds
from upstream import Upstream

SERVER = TOP / "docker/kubernetes"
KGATEWAY = TOP / "config/kgateway"

# What the guide sets up before extprocd comes: the Gateway and the httpbin sample app.
GIVEN: list[Object] = [
    {"kind": "Gateway", "metadata": {"name": "http", "namespace": "kgateway-system"}, "spec": {"listeners": [{"name": "http"}]}},
    {"kind": "Service", "metadata": {"name": "httpbin", "namespace": "httpbin"}, "spec": {"ports": [{"port": 8000}]}},
]


def with_route() -> list[Object]:
    return build(SERVER) + build(KGATEWAY)


def gateway_wide() -> list[Object]:
    names = ("extension.yaml", "reference_grant.yaml", "gateway.yaml")
    return build(SERVER) + [each for name in names for each in read(KGATEWAY / name)]


VARIANTS = {"route": with_route, "gateway": gateway_wide}


def find(objects: list[Object], title: str) -> Object:
    kind, name = title.split("/")
    return next(each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name))


def change(each: Any, path: str, value: Any) -> None:
    """Sets what a path names, with a blank between its steps; None removes it."""
    *steps, last = [int(step) if step.isdigit() else step for step in path.split()]
    for step in steps:
        each = each[step]
    if value is None:
        del each[last]
    else:
        each[last] = value


@pytest.mark.parametrize("kubernetes", KUBERNETES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_manifests_are_valid_and_fit_together(variant: str, kubernetes: str) -> None:
    assert problems(VARIANTS[variant](), GIVEN, kubernetes) == []


def test_the_server_may_live_in_a_namespace_of_its_own() -> None:
    objects = with_route()
    for each in objects:
        if each["metadata"]["name"] == "ext-proc-grpc":
            each["metadata"]["namespace"] = "extproc"
    change(find(objects, EXTENSION), "spec extProc grpcService backendRef namespace", "extproc")
    missing = "GatewayExtension ext-proc-extension: no ReferenceGrant lets it refer to Service extproc/ext-proc-grpc"
    assert problems(objects, GIVEN) == [missing]
    grant = copy.deepcopy(find(objects, GRANT))
    grant["metadata"] = {"name": "extproc", "namespace": "extproc"}
    grant["spec"]["from"] = [{"group": "gateway.kgateway.dev", "kind": "GatewayExtension", "namespace": "kgateway-system"}]
    assert problems([*objects, grant], GIVEN) == []


def test_every_manifest_is_in_a_variant() -> None:
    applied = {name for folder in (SERVER, KGATEWAY) for name in read(folder / "kustomization.yaml")[0]["resources"]}
    written = {path.name for folder in (SERVER, KGATEWAY) for path in folder.glob("*.yaml")}
    assert written - applied == {"kustomization.yaml", "gateway.yaml"}


POD = "spec template spec"
CONTAINER = POD + " containers 0"
EXTENSION, POLICY, ROUTE = "GatewayExtension/ext-proc-extension", "TrafficPolicy/extproc", "HTTPRoute/extproc"
EVERYWHERE, OFF = "TrafficPolicy/extproc-everywhere", "TrafficPolicy/extproc-off"
DEPLOYMENT, SERVICE, GRANT = "Deployment/ext-proc-grpc", "Service/ext-proc-grpc", "ReferenceGrant/httpbin"
BUDGET, SCALER = "PodDisruptionBudget/ext-proc-grpc", "HorizontalPodAutoscaler/ext-proc-grpc"
NETWORK, CONFIG = "NetworkPolicy/ext-proc-grpc", "ConfigMap/ext-proc-grpc"

# What is changed to what, and what is then said.
MISTAKES = [
    # Fields of core kinds
    (DEPLOYMENT, "spec replica", 2, "spec: Additional properties are not allowed ('replica' was unexpected)"),
    (DEPLOYMENT, "spec selector", None, "'selector' is a required property"),
    (DEPLOYMENT, "apiVersion", "apps/v1beta1", "there is no schema"),
    (DEPLOYMENT, CONTAINER + " readinessProbe grpc port", "grpc", "'grpc' is not"),
    (SERVICE, "spec ports 0 port", "4444", "'4444' is not"),
    (NETWORK, "spec policyTypes", "Ingress", "'Ingress' is not"),
    # Fields of gateway kinds
    (EXTENSION, "apiVersion", "gateway.kgateway.dev/v1", "apiVersion: 'gateway.kgateway.dev/v1' is not one of"),
    (EXTENSION, "spec type", "ExtProc", "'type' was unexpected"),
    (EXTENSION, "spec extProc", None, "'extProc' is a required property"),
    (EXTENSION, "spec extProc failOpen", "no", "failOpen: 'no' is not of type 'boolean'"),
    (EXTENSION, "spec extProc grpcService backendRef", None, "'backendRef' is a required property"),
    (EXTENSION, "spec extProc grpcService backendRef port", 0, "0 is less than the minimum"),
    (EXTENSION, "spec extProc processingMode requestBodyMode", "Buffered", "requestBodyMode: 'Buffered' is not one of"),
    (EXTENSION, "spec extProc processingMode requestHeaderMode", "NONE", "requestHeaderMode: 'NONE' is not one of"),
    (EXTENSION, "spec extProc routeCacheAction", "CLEAR", "routeCacheAction: 'CLEAR' is not one of"),
    (EXTENSION, "spec extProc filterStage", {"stage": "Routing"}, "'Routing' is not one of"),
    (EXTENSION, "spec extProc messageTimeout", "0.5s", "messageTimeout: '0.5s' does not match"),
    (EXTENSION, "spec extProc messageTimeout", "0ms", "messageTimeout: '0ms' should not be valid"),
    (POLICY, "spec extProc disable", {}, "valid under each of"),
    (POLICY, "spec extProc extensionRef", None, "is not valid under any of"),
    (EVERYWHERE, "spec targetRefs 0 kind", "Service", "'Service' is not one of"),
    (EVERYWHERE, "spec targetRefs 0 group", None, "'group' is a required property"),
    (ROUTE, "spec rules 0 matches 0 path type", "Prefix", "'Prefix' is not one of"),
    (ROUTE, "spec rules 0 filters 0 extensionRef", None, "'extensionRef' is a required property"),
    (ROUTE, "spec hostnames 0", "extproc.example:80", "does not match"),
    (GRANT, "spec to 0 group", None, "'group' is a required property"),
    (GRANT, "metadata namespace", None, "'namespace' is a required property"),
    # What must be there
    (EXTENSION, "metadata name", "other", "there is no GatewayExtension kgateway-system/ext-proc-extension"),
    (EXTENSION, "spec extProc grpcService backendRef name", "extprocd", "there is no Service kgateway-system/extprocd"),
    (EXTENSION, "spec extProc grpcService backendRef port", 18080, "has no port 18080"),
    (EXTENSION, "spec extProc failOpen", None, "whether it fails open is not said"),
    (EXTENSION, "spec extProc grpcService backendRef", {"name": "httpbin", "namespace": "httpbin", "port": 8000},
     "no ReferenceGrant lets it refer to Service httpbin/httpbin"),
    (POLICY, "spec extProc extensionRef name", "extprocd", "there is no GatewayExtension kgateway-system/extprocd"),
    (POLICY, "spec extProc extensionRef namespace", "httpbin", "no ReferenceGrant lets it refer to GatewayExtension httpbin/"),
    (POLICY, "metadata name", "other", "it is attached to nothing"),
    (EVERYWHERE, "spec targetRefs", None, "it is attached to nothing"),
    (EVERYWHERE, "spec targetRefs 0 name", "https", "there is no Gateway https in its namespace"),
    (EVERYWHERE, "spec targetRefs 0 sectionName", "https", "Gateway http has no section https"),
    (OFF, "spec targetRefs 0 name", "httpbin", "there is no HTTPRoute httpbin in its namespace"),
    (OFF, "spec targetRefs 0 sectionName", "rule1", "HTTPRoute extproc has no section rule1"),
    (OFF, "metadata name", "extproc-everywhere", "it is there twice"),
    (ROUTE, "spec parentRefs 0 name", "https", "there is no Gateway https"),
    (ROUTE, "spec rules 0 filters 0 extensionRef name", "other", "there is no TrafficPolicy other in its namespace"),
    (ROUTE, "spec rules 0 filters 0 extensionRef kind", "GatewayExtension", "a rule refers to a GatewayExtension"),
    (ROUTE, "spec rules 1 backendRefs 0 name", "echo", "there is no Service httpbin/echo"),
    (ROUTE, "spec rules 1 backendRefs 0 port", 80, "Service httpbin/httpbin has no port 80"),
    (GRANT, "metadata namespace", "kgateway-system", "no ReferenceGrant lets it refer to Service httpbin/httpbin"),
    (GRANT, "spec from 0 kind", "GRPCRoute", "no ReferenceGrant lets it refer to Service httpbin/httpbin"),
    (GRANT, "spec from 0 namespace", "default", "no ReferenceGrant lets it refer to Service httpbin/httpbin"),
    (GRANT, "spec to 0 kind", "Secret", "no ReferenceGrant lets it refer to Service httpbin/httpbin"),
    (GRANT, "spec to 0 name", "echo", "no ReferenceGrant lets it refer to Service httpbin/httpbin"),
    # The Service, and what else selects pods
    (SERVICE, "spec ports 0 appProtocol", None, "is not marked as HTTP/2"),
    (SERVICE, "spec ports 0 appProtocol", "grpc", "is not marked as HTTP/2"),
    (SERVICE, "spec ports 0 targetPort", 8080, "targetPort 8080 is none of the pods'"),
    (SERVICE, "spec selector", {"app": "ext-proc-grpc"}, "Service ext-proc-grpc: the selector fits no pods"),
    (BUDGET, "spec selector matchLabels", {"app": "a"}, "PodDisruptionBudget ext-proc-grpc: the selector fits no pods"),
    (BUDGET, "spec maxUnavailable", 2, "it lets all pods go at once"),
    (SCALER, "spec scaleTargetRef name", "extprocd", "its target is not there"),
    (SCALER, "spec scaleTargetRef apiVersion", "apps/v2", "its target is not there"),
    (NETWORK, "spec podSelector matchLabels", {"app": "a"}, "NetworkPolicy ext-proc-grpc: the selector fits no pods"),
    (NETWORK, "spec ingress 0 ports 0 port", 4444, "the ports that are let in are not those of the pods"),
    # The Deployment
    (DEPLOYMENT, "spec replicas", 2, "the target has replicas"),
    (DEPLOYMENT, "spec selector matchLabels", {"app": "a"}, "the selector does not fit the pods' labels"),
    (DEPLOYMENT, POD + " topologySpreadConstraints 0 labelSelector matchLabels", {"app": "a"}, "a topologySpreadConstraint"),
    (DEPLOYMENT, POD + " securityContext runAsNonRoot", False, "runAsNonRoot: missing"),
    (DEPLOYMENT, POD + " securityContext runAsUser", 0, "runAsUser 65532: missing"),
    (DEPLOYMENT, POD + " securityContext seccompProfile type", "Unconfined", "seccompProfile RuntimeDefault: missing"),
    (DEPLOYMENT, POD + " automountServiceAccountToken", None, "automountServiceAccountToken false: missing"),
    (DEPLOYMENT, CONTAINER + " securityContext", None, "readOnlyRootFilesystem: missing"),
    (DEPLOYMENT, CONTAINER + " securityContext allowPrivilegeEscalation", True, "allowPrivilegeEscalation false: missing"),
    (DEPLOYMENT, CONTAINER + " securityContext capabilities add", ["NET_ADMIN"], "capabilities dropped: missing"),
    (DEPLOYMENT, CONTAINER + " resources limits", None, "requests and a limit of memory: missing"),
    (DEPLOYMENT, CONTAINER + " image", "extprocd", "an image with a tag: missing"),
    (DEPLOYMENT, CONTAINER + " startupProbe", None, "there is no startupProbe over gRPC"),
    (DEPLOYMENT, CONTAINER + " livenessProbe grpc port", 8080, "livenessProbe asks port 8080"),
    (DEPLOYMENT, CONTAINER + " readinessProbe grpc service", "extproc", "readinessProbe asks for a service"),
    (DEPLOYMENT, CONTAINER + " args 1", "/etc/extprocd.toml", "is mounted at '/etc/extprocd.toml'"),
    (DEPLOYMENT, CONTAINER + " args", None, "is mounted at '', which --config names"),
    (DEPLOYMENT, CONTAINER + " volumeMounts 1 mountPath", "/run", "plugins.runtime_dir is no emptyDir in memory"),
    (DEPLOYMENT, POD + " volumes 1", None, "/run/extprocd: the volume of the mount is not there"),
    (DEPLOYMENT, POD + " volumes 0 configMap name", "extprocd", "no key of a ConfigMap is mounted"),
    (DEPLOYMENT, POD + " volumes 1 emptyDir medium", None, "plugins.runtime_dir is no emptyDir in memory"),
    (DEPLOYMENT, POD + " terminationGracePeriodSeconds", 35, "is not longer than the drain"),
    (DEPLOYMENT, POD + " terminationGracePeriodSeconds", None, "is not longer than the drain"),
    (DEPLOYMENT, "spec template metadata annotations prometheus.io/port", "18080", "Prometheus' annotations"),
    (DEPLOYMENT, "spec template metadata annotations", None, "Prometheus' annotations"),
    (CONFIG, "data extprocd.toml", None, "no key of a ConfigMap is mounted"),
]


@pytest.mark.parametrize(("title", "path", "value", "said"), MISTAKES)
def test_a_mistake_is_seen(title: str, path: str, value: object, said: str) -> None:
    objects = gateway_wide() if title in (EVERYWHERE, OFF) else with_route()
    change(find(objects, title), path, value)
    found = problems(objects, GIVEN)
    assert any(said in problem for problem in found), found


@pytest.mark.parametrize(("old", "new", "said"), [
    ('listen = ["[::]:18080"]', 'listen = ["127.0.0.1:18080"]', "server.listen 127.0.0.1:18080 cannot be reached"),
    ('listen = ["[::]:18080"]', 'listen = ["[::]:8080"]', "server.listen [::]:8080 is no port of the container"),
    ('listen = "[::]:18081"', 'listen = "127.0.0.1:18081"', "admin.listen 127.0.0.1:18081 cannot be reached"),
    ('"/run/extprocd"', '"/tmp"', "plugins.runtime_dir is no emptyDir in memory"),
    ('deadline = "30s"', 'deadline = "1m"', "terminationGracePeriodSeconds is not longer than the drain"),
])
def test_a_mistake_in_the_configuration_is_seen(old: str, new: str, said: str) -> None:
    objects = with_route()
    data = find(objects, CONFIG)["data"]
    assert old in data["extprocd.toml"]
    data["extprocd.toml"] = data["extprocd.toml"].replace(old, new)
    found = problems(objects, GIVEN)
    assert any(said in problem for problem in found), found


def test_an_object_of_an_unknown_kind_is_seen() -> None:
    unknown = {"apiVersion": "v1", "kind": "Deploymint", "metadata": {"name": "a", "namespace": "b"}}
    assert problems([unknown], []) == ["Deploymint a: there is no schema for this kind and version"]


class Container(Process):
    """The Deployment's container: the binary with its arguments and its ConfigMap. Paths lead into a folder of the test,
    and addresses to free ports on loopback."""

    name = "the container"

    def __init__(self, objects: list[Object]) -> None:
        super().__init__()
        self.pod = find(objects, DEPLOYMENT)["spec"]["template"]
        self.spec = self.pod["spec"]["containers"][0]
        self.ports = {each["containerPort"]: free_port() for each in self.spec["ports"]}
        mounts = {mount["mountPath"]: self.folder / mount["name"] for mount in self.spec["volumeMounts"]}
        for folder in mounts.values():
            folder.mkdir()
        config, run = (mounts[path] for path in ("/etc/extprocd", "/run/extprocd"))
        for name, text in find(objects, CONFIG)["data"].items():
            for port, free in self.ports.items():
                text = self.put(text, f'"[::]:{port}"', f'"127.0.0.1:{free}"')
            (config / name).write_text(self.put(text, '"/run/extprocd"', f'"{run}"'))
        config.chmod(0o555)
        self.run = run
        self.arguments = [argument.replace("/etc/extprocd/", f"{config}/") for argument in self.spec["args"]]

    @staticmethod
    def put(text: str, old: str, new: str) -> str:
        assert text.count(old) == 1, f"{old} is there {text.count(old)} times"
        return text.replace(old, new)

    def command(self) -> list[str]:
        return [str(BINARY), *self.arguments]

    def asked(self, name: str) -> int | None:
        """What the server answers to a probe on a new connection; None if it does not answer."""
        wanted = self.spec[name]["grpc"]
        with grpc.insecure_channel(f"127.0.0.1:{self.ports[wanted['port']]}") as channel:
            question = health_pb2.HealthCheckRequest(service=wanted["service"])
            try:
                answer: health_pb2.HealthCheckResponse = health_pb2_grpc.HealthStub(channel).Check(question, timeout=30)
            except grpc.RpcError:
                return None
        return int(answer.status)

    def probe(self, name: str) -> bool:
        """Whether the kubelet takes the answer for good."""
        return self.asked(name) == int(health_pb2.HealthCheckResponse.SERVING)

    def is_ready(self) -> bool:
        return self.probe("startupProbe")


@pytest.fixture(scope="module")
def container() -> Iterator[Container]:
    with Container(with_route()) as running:
        yield running


def test_the_container_answers_its_probes(container: Container) -> None:
    assert container.probe("readinessProbe")
    assert container.probe("livenessProbe")
    with grpc.insecure_channel(f"127.0.0.1:{container.ports[18080]}") as channel:
        # Not in this grpcio's stub yet. Check answers for any name: only the list shows which are meant.
        listed: bytes = channel.unary_unary("/grpc.health.v1.Health/List")(b"", timeout=30)
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container.spec[name]["grpc"]["service"].encode() in listed


def test_the_container_writes_into_its_runtime_dir_alone(container: Container) -> None:
    assert [path.name for path in container.run.iterdir() if path.name.startswith("instructions")]
    written = {path.name for path in container.folder.iterdir()}
    assert written == {"log", "config", "run"}


def test_the_container_shows_its_metrics_where_prometheus_is_told_to_look(container: Container) -> None:
    notes = container.pod["metadata"]["annotations"]
    port = container.ports[int(notes["prometheus.io/port"])]
    status, text = http_get(f"http://127.0.0.1:{port}{notes['prometheus.io/path']}")
    assert status == 200
    assert "\nextproc_build_info" in text


def test_check_accepts_the_configuration(container: Container) -> None:
    done = subprocess.run([*container.command(), "--check"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_pod_that_ends_is_not_ready_first_and_gone_in_time() -> None:
    with Container(with_route()) as running:
        assert running.child is not None
        running.child.terminate()
        # It still answers, and so serves what comes until the gateway has heard of the end.
        eventually(lambda: running.asked("readinessProbe") == health_pb2.HealthCheckResponse.NOT_SERVING)
        assert running.stop(seconds=running.pod["spec"]["terminationGracePeriodSeconds"]) == 0


def envoy_settings(objects: list[Object]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Routes and filter that kgateway makes of the objects: a route is processed if its rule or the Gateway has a policy."""
    extension = find(objects, EXTENSION)["spec"]["extProc"]
    modes = {
        "request_header_mode": "requestHeaderMode", "response_header_mode": "responseHeaderMode",
        "request_body_mode": "requestBodyMode", "response_body_mode": "responseBodyMode",
        "request_trailer_mode": "requestTrailerMode", "response_trailer_mode": "responseTrailerMode",
    }
    inner = envoy_config.ext_proc(
        failure_mode_allow=extension["failOpen"], message_timeout=f"{seconds(extension['messageTimeout'])}s",
        processing_mode={name: extension["processingMode"][field] for name, field in modes.items()})
    policies = [each["spec"] for each in objects if each["kind"] == "TrafficPolicy"]
    targets = [(target, "disable" in spec["extProc"]) for spec in policies for target in spec.get("targetRefs", [])]
    everywhere = any(target["kind"] == "Gateway" and not disabled for target, disabled in targets)
    off = {target["sectionName"] for target, disabled in targets if disabled}
    routes = [
        envoy_config.route(rule["matches"][0]["path"]["value"], processed=everywhere or "filters" in rule,
                           off=rule.get("name") in off)
        for rule in find(objects, ROUTE)["spec"]["rules"]
    ]
    return routes, inner


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_guides_two_calls_behind_envoy(variant: str, container: Container) -> None:
    port, admin = free_port(), free_port()
    objects = VARIANTS[variant]()
    server = container.ports[find(objects, SERVICE)["spec"]["ports"][0]["targetPort"]]
    with Upstream() as upstream:
        bootstrap = envoy_config.bootstrap(port, admin, f"127.0.0.1:{upstream.port}", f"127.0.0.1:{server}",
                                           *envoy_settings(objects))
        with Envoy(bootstrap, port, admin):
            headers = {"host": find(objects, ROUTE)["spec"]["hostnames"][0], "instructions": '{"addHeaders":{"extproc":"true"}}'}
            assert request(port, "/headers", headers=headers).seen["Extproc"] == "true"
            assert "Extproc" not in request(port, "/get", headers=headers).seen
