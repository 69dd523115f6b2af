"""Whether manifests are valid and fit together."""

from __future__ import annotations

import jsonschema
import kubernetes_validate

import gateway_checks
import server_checks
from cluster import Cluster
from gateway_schemas import SCHEMAS
from kustomization import Object

# gRPC probes came with the first.
KUBERNETES = ("1.27", "1.37")
CHECKS = server_checks.CHECKS | gateway_checks.CHECKS


def schema_problem(each: Object, kubernetes: str) -> str | None:
    """What is wrong with an object's own fields."""
    try:
        if each["kind"] in SCHEMAS:
            jsonschema.Draft202012Validator(SCHEMAS[each["kind"]]).validate(each)
        else:
            kubernetes_validate.validate(each, kubernetes, strict=True)
    except jsonschema.ValidationError as error:
        return f"{'.'.join(map(str, error.path))}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError:
        return "there is no schema for this kind and version"
    return None


def problems(objects: list[Object], given: list[Object], kubernetes: str = KUBERNETES[-1]) -> list[str]:
    """What is wrong, in sentences. `given` is there before the objects come."""
    cluster, found = Cluster(objects, given), []
    invalid = [f"{title(each)}: {problem}" for each in objects if (problem := schema_problem(each, kubernetes))]
    if invalid:
        return invalid  # what follows reads fields that it trusts to be there
    for each in objects:
        if len(cluster.of(each["kind"], each["metadata"]["namespace"], each["metadata"]["name"])) > 1:
            found.append(f"{title(each)}: it is there twice")
        if each["kind"] in CHECKS:
            found += [f"{title(each)}: {problem}" for problem in CHECKS[each["kind"]](cluster, each)]
    return found


def title(each: Object) -> str:
    return f"{each['kind']} {each['metadata']['name']}"
