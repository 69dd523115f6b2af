"""What must hold among the objects of a deployment, beyond the fields of each."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import kubernetes_validate

from gateway_schemas import SCHEMAS
from kustomization import Object, containers

KUBERNETES = "1.33"
HEALTH_SERVICES = ("", "envoy.service.ext_proc.v3.ExternalProcessor")
GATEWAY_API = "gateway.networking.k8s.io"
KGATEWAY = "gateway.kgateway.dev"


def title(each: Object) -> str:
    return f"{each['kind']} {each['metadata']['name']}"


def seconds(duration: str) -> float:
    """A duration with one unit, as extprocd's configuration and kgateway have it."""
    number, unit = duration.rstrip("hms"), duration.lstrip("0123456789.")
    return float(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


def port_of(address: str) -> int:
    return int(address.rsplit(":", 1)[1])


def reachable(address: str) -> bool:
    """Whether an address is more than loopback."""
    return address.rsplit(":", 1)[0] in ("", "[::]", "0.0.0.0")


def schema_problem(each: Object) -> str | None:
    kind = each["kind"]
    try:
        if kind in SCHEMAS:
            jsonschema.Draft202012Validator(SCHEMAS[kind]).validate(each)
        else:
            kubernetes_validate.validate(each, KUBERNETES, strict=True)
    except jsonschema.ValidationError as error:
        return f"{'.'.join(map(str, error.path))}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError:
        return "there is no schema for this kind and version"
    return None


class Cluster:
    """The objects under test, and those that must be there before them. Each check yields sentences."""

    def __init__(self, objects: list[Object], given: list[Object] | None = None) -> None:
        self.own = objects
        self.all = objects + (given or [])

    def problems(self) -> list[str]:
        found = [f"{title(each)}: {problem}" for each in self.own if (problem := schema_problem(each))]
        if found:
            return found  # what follows reads fields that it trusts to be there
        checks: dict[str, Callable[[Object], Iterator[str]]] = {
            "Deployment": self.deployment,
            "Service": self.service,
            "PodDisruptionBudget": self.disruption_budget,
            "HorizontalPodAutoscaler": self.autoscaler,
            "NetworkPolicy": self.network_policy,
            "GatewayExtension": self.extension,
            "TrafficPolicy": self.policy,
            "HTTPRoute": self.route,
        }
        for each in self.own:
            if len(self.of(each["kind"], each["metadata"]["namespace"], each["metadata"]["name"])) > 1:
                found.append(f"{title(each)}: it is there twice")
            if each["kind"] in checks:
                found += [f"{title(each)}: {problem}" for problem in checks[each["kind"]](each)]
        return found

    def of(self, kind: str, namespace: str, name: str | None = None) -> list[Object]:
        return [each for each in self.all if each["kind"] == kind and each["metadata"].get("namespace") == namespace
                and name in (None, each["metadata"]["name"])]

    def one(self, kind: str, namespace: str, name: str) -> Object | None:
        return next(iter(self.of(kind, namespace, name)), None)

    def selected(self, namespace: str, labels: dict[str, str]) -> Object | None:
        """The Deployment whose pods have these labels."""
        return next((each for each in self.of("Deployment", namespace)
                     if labels.items() <= each["spec"]["template"]["metadata"]["labels"].items()), None)

    def granted(self, source: Object, group: str, target_group: str, target_kind: str, namespace: str, name: str) -> bool:
        """Whether an object may refer into this namespace."""
        wanted = {"group": group, "kind": source["kind"], "namespace": source["metadata"]["namespace"]}
        return namespace == wanted["namespace"] or any(
            wanted in grant["spec"]["from"] and any(
                to["group"] == target_group and to["kind"] == target_kind and to.get("name", name) == name
                for to in grant["spec"]["to"])
            for grant in self.of("ReferenceGrant", namespace))

    # Core kinds

    def deployment(self, each: Object) -> Iterator[str]:
        spec, pod = each["spec"], each["spec"]["template"]["spec"]
        labels = spec["template"]["metadata"]["labels"]
        if not spec["selector"]["matchLabels"].items() <= labels.items():
            yield "the selector does not fit the pods' labels"
        for spread in pod.get("topologySpreadConstraints", []):
            if not spread["labelSelector"]["matchLabels"].items() <= labels.items():
                yield "a topologySpreadConstraint does not fit the pods' labels"
        container = containers(each)[0]
        yield from self.hardening(pod, container)
        ports = {port["containerPort"] for port in container["ports"]}
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            probe = container.get(name, {}).get("grpc")
            if probe is None:
                yield f"there is no {name} over gRPC"
            elif probe["port"] not in ports:
                yield f"{name} asks port {probe['port']}, which is none of the container's"
            elif probe.get("service", "") not in HEALTH_SERVICES:
                yield f"{name} asks for a service that the server does not list"
        mounted = dict(self.mounts(pod, container))
        for path, volume in mounted.items():
            if volume is None:
                yield f"{path}: the volume of the mount is not there"
        arguments = container.get("args", [])
        file = arguments[arguments.index("--config") + 1] if "--config" in arguments else ""
        folder, _, key = file.rpartition("/")
        source = (mounted.get(folder) or {}).get("configMap")
        config_map = source and self.one("ConfigMap", each["metadata"]["namespace"], source["name"])
        if not config_map or key not in config_map["data"]:
            yield f"no key of a ConfigMap is mounted at '{file}', which --config names"
            return
        yield from self.configuration(tomllib.loads(config_map["data"][key]), spec["template"], ports, mounted)

    @staticmethod
    def hardening(pod: Object, container: Object) -> Iterator[str]:
        inside, around = container.get("securityContext", {}), pod.get("securityContext", {})
        wanted = {
            "runAsNonRoot": around.get("runAsNonRoot") is True,
            "runAsUser 65532": around.get("runAsUser") == 65532,
            "seccompProfile RuntimeDefault": around.get("seccompProfile") == {"type": "RuntimeDefault"},
            "readOnlyRootFilesystem": inside.get("readOnlyRootFilesystem") is True,
            "allowPrivilegeEscalation false": inside.get("allowPrivilegeEscalation") is False,
            "capabilities dropped": inside.get("capabilities") == {"drop": ["ALL"]},
            "automountServiceAccountToken false": pod.get("automountServiceAccountToken") is False,
            "requests and a limit of memory": {"cpu", "memory"} <= set(container.get("resources", {}).get("requests", {}))
            and "memory" in container["resources"].get("limits", {}),
            "an image with a tag": ":" in container["image"] and not container["image"].endswith(":latest"),
        }
        yield from (f"{name}: missing" for name, there in wanted.items() if not there)

    @staticmethod
    def mounts(pod: Object, container: Object) -> Iterator[tuple[str, Object | None]]:
        volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
        for mount in container.get("volumeMounts", []):
            yield mount["mountPath"], volumes.get(mount["name"])

    @staticmethod
    def configuration(config: Object, template: Object, ports: set[int], mounted: dict[str, Object | None]) -> Iterator[str]:
        listen, admin = config["server"]["listen"][0], config["admin"]["listen"]
        for name, address in (("server.listen", listen), ("admin.listen", admin)):
            if not reachable(address):
                yield f"{name} {address} cannot be reached from outside the pod"
            if port_of(address) not in ports:
                yield f"{name} {address} is no port of the container"
        scrape = template["metadata"].get("annotations", {})
        if scrape.get("prometheus.io/scrape") != "true" or scrape.get("prometheus.io/port") != str(port_of(admin)) \
                or scrape.get("prometheus.io/path") != "/metrics":
            yield "Prometheus' annotations do not name the admin address"
        staging = mounted.get(config["plugins"]["runtime_dir"])
        if staging is None or staging.get("emptyDir", {}).get("medium") != "Memory":
            yield "plugins.runtime_dir is no emptyDir in memory"
        drain = config["server"]["drain"]
        if template["spec"].get("terminationGracePeriodSeconds", 30) <= seconds(drain["grace"]) + seconds(drain["deadline"]):
            yield "terminationGracePeriodSeconds is not longer than the drain"

    def service(self, each: Object) -> Iterator[str]:
        workload = self.selected(each["metadata"]["namespace"], each["spec"]["selector"])
        if workload is None:
            yield "the selector fits no pods"
            return
        ports = {port["containerPort"] for port in containers(workload)[0]["ports"]}
        for port in each["spec"]["ports"]:
            if port["targetPort"] not in ports:
                yield f"targetPort {port['targetPort']} is none of the pods'"

    def disruption_budget(self, each: Object) -> Iterator[str]:
        namespace = each["metadata"]["namespace"]
        workload = self.selected(namespace, each["spec"]["selector"]["matchLabels"])
        if workload is None:
            yield "the selector fits no pods"
            return
        for scaler in self.of("HorizontalPodAutoscaler", namespace, workload["metadata"]["name"]):
            if each["spec"]["maxUnavailable"] >= scaler["spec"]["minReplicas"]:
                yield "it lets all pods go at once"

    def autoscaler(self, each: Object) -> Iterator[str]:
        target = each["spec"]["scaleTargetRef"]
        workload = self.one(target["kind"], each["metadata"]["namespace"], target["name"])
        if workload is None or workload["apiVersion"] != target["apiVersion"]:
            yield "its target is not there"
        elif "replicas" in workload["spec"]:
            yield "the target has replicas, which every apply would set back"

    def network_policy(self, each: Object) -> Iterator[str]:
        workload = self.selected(each["metadata"]["namespace"], each["spec"]["podSelector"]["matchLabels"])
        if workload is None:
            yield "the selector fits no pods"
            return
        opened = {port["port"] for rule in each["spec"]["ingress"] for port in rule["ports"]}
        if opened != {port["containerPort"] for port in containers(workload)[0]["ports"]}:
            yield "the ports that are let in are not those of the pods"

    # Gateway kinds

    def backend(self, each: Object, group: str, reference: Object) -> Iterator[str]:
        name, namespace = reference["name"], reference.get("namespace", each["metadata"]["namespace"])
        service = self.one("Service", namespace, name)
        if service is None:
            yield f"there is no Service {namespace}/{name}"
        elif not any(port["port"] == reference.get("port") for port in service["spec"]["ports"]):
            yield f"Service {namespace}/{name} has no port {reference.get('port')}"
        if not self.granted(each, group, "", "Service", namespace, name):
            yield f"no ReferenceGrant lets it refer to Service {namespace}/{name}"

    def extension(self, each: Object) -> Iterator[str]:
        reference = each["spec"]["extProc"]["grpcService"]["backendRef"]
        yield from self.backend(each, KGATEWAY, reference)
        service = self.one("Service", reference.get("namespace", each["metadata"]["namespace"]), reference["name"])
        for port in service["spec"]["ports"] if service else []:
            if port["port"] == reference["port"] and port.get("appProtocol") != "kubernetes.io/h2c":
                yield "the port of its Service is not marked as HTTP/2 (appProtocol kubernetes.io/h2c)"
        if "failOpen" not in each["spec"]["extProc"]:
            yield "whether it fails open is not said, and the default changed once"

    def policy(self, each: Object) -> Iterator[str]:
        namespace = each["metadata"]["namespace"]
        if reference := each["spec"]["extProc"].get("extensionRef"):
            where = reference.get("namespace", namespace)
            if not self.of("GatewayExtension", where, reference["name"]):
                yield f"there is no GatewayExtension {where}/{reference['name']}"
            if not self.granted(each, KGATEWAY, KGATEWAY, "GatewayExtension", where, reference["name"]):
                yield f"no ReferenceGrant lets it refer to GatewayExtension {where}/{reference['name']}"
        for target in each["spec"].get("targetRefs", []):
            found = self.one(target["kind"], namespace, target["name"])
            if found is None:
                yield f"there is no {target['kind']} {target['name']} in its namespace"
            elif target.get("sectionName") not in (None, *self.sections(found)):
                yield f"{target['kind']} {target['name']} has no section {target['sectionName']}"
        if not each["spec"].get("targetRefs") and not any(
                name == each["metadata"]["name"] for route in self.of("HTTPRoute", namespace)
                for name in self.attached(route)):
            yield "it is attached to nothing"

    @staticmethod
    def sections(each: Object) -> list[str]:
        return [part["name"] for part in each["spec"].get("rules", []) + each["spec"].get("listeners", []) if "name" in part]

    @staticmethod
    def attached(route: Object) -> Iterator[str]:
        """The names of the policies that a route's rules refer to."""
        for rule in route["spec"]["rules"]:
            yield from (entry["extensionRef"]["name"] for entry in rule.get("filters", []))

    def route(self, each: Object) -> Iterator[str]:
        namespace = each["metadata"]["namespace"]
        for parent in each["spec"]["parentRefs"]:
            if not self.of("Gateway", parent.get("namespace", namespace), parent["name"]):
                yield f"there is no Gateway {parent['name']}"
        for rule in each["spec"]["rules"]:
            for entry in rule.get("filters", []):
                reference = entry["extensionRef"]
                if (reference["group"], reference["kind"]) != (KGATEWAY, "TrafficPolicy"):
                    yield f"a rule refers to a {reference['kind']} of {reference['group']}"
                elif not self.of("TrafficPolicy", namespace, reference["name"]):
                    yield f"there is no TrafficPolicy {reference['name']} in its namespace"
            for backend in rule["backendRefs"]:
                yield from self.backend(each, GATEWAY_API, backend)

