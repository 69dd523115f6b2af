"""What must hold for the objects of kgateway and the Gateway API, beyond the fields of each. Checks yield sentences."""

from __future__ import annotations

from collections.abc import Iterator

from cluster import Cluster
from kustomization import Object

GATEWAY_API = "gateway.networking.k8s.io"
KGATEWAY = "gateway.kgateway.dev"


def backend(cluster: Cluster, each: Object, group: str, reference: Object) -> Iterator[str]:
    name, namespace = reference["name"], reference.get("namespace", each["metadata"]["namespace"])
    service = cluster.one("Service", namespace, name)
    if service is None:
        yield f"there is no Service {namespace}/{name}"
    elif not any(port["port"] == reference.get("port") for port in service["spec"]["ports"]):
        yield f"Service {namespace}/{name} has no port {reference.get('port')}"
    if not cluster.granted(each, group, "", "Service", namespace, name):
        yield f"no ReferenceGrant lets it refer to Service {namespace}/{name}"


def extension(cluster: Cluster, each: Object) -> Iterator[str]:
    reference = each["spec"]["extProc"]["grpcService"]["backendRef"]
    yield from backend(cluster, each, KGATEWAY, reference)
    service = cluster.one("Service", reference.get("namespace", each["metadata"]["namespace"]), reference["name"])
    for port in service["spec"]["ports"] if service else []:
        if port["port"] == reference["port"] and port.get("appProtocol") != "kubernetes.io/h2c":
            yield "the port of its Service is not marked as HTTP/2 (appProtocol kubernetes.io/h2c)"
    if "failOpen" not in each["spec"]["extProc"]:
        yield "whether it fails open is not said, and the default changed once"


def policy(cluster: Cluster, each: Object) -> Iterator[str]:
    namespace = each["metadata"]["namespace"]
    if reference := each["spec"]["extProc"].get("extensionRef"):
        where = reference.get("namespace", namespace)
        if not cluster.of("GatewayExtension", where, reference["name"]):
            yield f"there is no GatewayExtension {where}/{reference['name']}"
        if not cluster.granted(each, KGATEWAY, KGATEWAY, "GatewayExtension", where, reference["name"]):
            yield f"no ReferenceGrant lets it refer to GatewayExtension {where}/{reference['name']}"
    for target in each["spec"].get("targetRefs", []):
        found = cluster.one(target["kind"], namespace, target["name"])
        if found is None:
            yield f"there is no {target['kind']} {target['name']} in its namespace"
        elif target.get("sectionName") not in (None, *sections(found)):
            yield f"{target['kind']} {target['name']} has no section {target['sectionName']}"
    if not each["spec"].get("targetRefs") and not any(
            name == each["metadata"]["name"] for route in cluster.of("HTTPRoute", namespace)
            for name in attached(route)):
        yield "it is attached to nothing"


def sections(each: Object) -> list[str]:
    return [part["name"] for part in each["spec"].get("rules", []) + each["spec"].get("listeners", []) if "name" in part]


def attached(route: Object) -> Iterator[str]:
    """The names of the policies that a route's rules refer to."""
    for rule in route["spec"]["rules"]:
        yield from (entry["extensionRef"]["name"] for entry in rule.get("filters", []))


def route(cluster: Cluster, each: Object) -> Iterator[str]:
    namespace = each["metadata"]["namespace"]
    for parent in each["spec"]["parentRefs"]:
        if not cluster.of("Gateway", parent.get("namespace", namespace), parent["name"]):
            yield f"there is no Gateway {parent['name']}"
    for rule in each["spec"]["rules"]:
        for entry in rule.get("filters", []):
            reference = entry["extensionRef"]
            if (reference["group"], reference["kind"]) != (KGATEWAY, "TrafficPolicy"):
                yield f"a rule refers to a {reference['kind']} of {reference['group']}"
            elif not cluster.of("TrafficPolicy", namespace, reference["name"]):
                yield f"there is no TrafficPolicy {reference['name']} in its namespace"
        for reference in rule["backendRefs"]:
            yield from backend(cluster, each, GATEWAY_API, reference)


CHECKS = {"GatewayExtension": extension, "TrafficPolicy": policy, "HTTPRoute": route}
