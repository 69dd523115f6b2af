"""Objects of Kubernetes, and how they find each other."""

from __future__ import annotations

from kustomization import Object


class Cluster:
    """The objects under test, and those that must be there before them."""

    def __init__(self, objects: list[Object], given: list[Object] | None = None) -> None:
        self.own = objects
        self.all = objects + (given or [])

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
