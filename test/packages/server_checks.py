"""What must hold for the server's own objects, beyond the fields of each. Checks yield sentences."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator

from cluster import Cluster
from kustomization import Object, containers

# What the server's health service lists.
HEALTH_SERVICES = ("", "envoy.service.ext_proc.v3.ExternalProcessor")


def seconds(duration: str) -> float:
    """A duration with one unit, as extprocd's configuration and kgateway have it."""
    number, unit = duration.rstrip("hms"), duration.lstrip("0123456789.")
    return float(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


def port_of(address: str) -> int:
    return int(address.rsplit(":", 1)[1])


def reachable(address: str) -> bool:
    """Whether an address is more than loopback."""
    return address.rsplit(":", 1)[0] in ("", "[::]", "0.0.0.0")


def deployment(cluster: Cluster, each: Object) -> Iterator[str]:
    spec, pod = each["spec"], each["spec"]["template"]["spec"]
    labels = spec["template"]["metadata"]["labels"]
    if not spec["selector"]["matchLabels"].items() <= labels.items():
        yield "the selector does not fit the pods' labels"
    for spread in pod.get("topologySpreadConstraints", []):
        if not spread["labelSelector"]["matchLabels"].items() <= labels.items():
            yield "a topologySpreadConstraint does not fit the pods' labels"
    container = containers(each)[0]
    yield from hardening(pod, container)
    ports = {port["containerPort"] for port in container["ports"]}
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        probe = container.get(name, {}).get("grpc")
        if probe is None:
            yield f"there is no {name} over gRPC"
        elif probe["port"] not in ports:
            yield f"{name} asks port {probe['port']}, which is none of the container's"
        elif probe.get("service", "") not in HEALTH_SERVICES:
            yield f"{name} asks for a service that the server does not list"
    mounted = dict(mounts(pod, container))
    for path, volume in mounted.items():
        if volume is None:
            yield f"{path}: the volume of the mount is not there"
    arguments = container.get("args", [])
    file = arguments[arguments.index("--config") + 1] if "--config" in arguments else ""
    folder, _, key = file.rpartition("/")
    source = (mounted.get(folder) or {}).get("configMap")
    config_map = source and cluster.one("ConfigMap", each["metadata"]["namespace"], source["name"])
    if not config_map or key not in config_map["data"]:
        yield f"no key of a ConfigMap is mounted at '{file}', which --config names"
        return
    yield from configuration(tomllib.loads(config_map["data"][key]), spec["template"], ports, mounted)


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


def mounts(pod: Object, container: Object) -> Iterator[tuple[str, Object | None]]:
    volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
    for mount in container.get("volumeMounts", []):
        yield mount["mountPath"], volumes.get(mount["name"])


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


def service(cluster: Cluster, each: Object) -> Iterator[str]:
    workload = cluster.selected(each["metadata"]["namespace"], each["spec"]["selector"])
    if workload is None:
        yield "the selector fits no pods"
        return
    ports = {port["containerPort"] for port in containers(workload)[0]["ports"]}
    for port in each["spec"]["ports"]:
        if port["targetPort"] not in ports:
            yield f"targetPort {port['targetPort']} is none of the pods'"


def disruption_budget(cluster: Cluster, each: Object) -> Iterator[str]:
    namespace = each["metadata"]["namespace"]
    workload = cluster.selected(namespace, each["spec"]["selector"]["matchLabels"])
    if workload is None:
        yield "the selector fits no pods"
        return
    for scaler in cluster.of("HorizontalPodAutoscaler", namespace, workload["metadata"]["name"]):
        if each["spec"]["maxUnavailable"] >= scaler["spec"]["minReplicas"]:
            yield "it lets all pods go at once"


def autoscaler(cluster: Cluster, each: Object) -> Iterator[str]:
    target = each["spec"]["scaleTargetRef"]
    workload = cluster.one(target["kind"], each["metadata"]["namespace"], target["name"])
    if workload is None or workload["apiVersion"] != target["apiVersion"]:
        yield "its target is not there"
    elif "replicas" in workload["spec"]:
        yield "the target has replicas, which every apply would set back"


def network_policy(cluster: Cluster, each: Object) -> Iterator[str]:
    workload = cluster.selected(each["metadata"]["namespace"], each["spec"]["podSelector"]["matchLabels"])
    if workload is None:
        yield "the selector fits no pods"
        return
    opened = {port["port"] for rule in each["spec"]["ingress"] for port in rule["ports"]}
    if opened != {port["containerPort"] for port in containers(workload)[0]["ports"]}:
        yield "the ports that are let in are not those of the pods"


CHECKS = {
    "Deployment": deployment,
    "Service": service,
    "PodDisruptionBudget": disruption_budget,
    "HorizontalPodAutoscaler": autoscaler,
    "NetworkPolicy": network_policy,
}
