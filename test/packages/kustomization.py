"""What `kubectl apply -k` would send, for the few features of kustomize that are used here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

KNOWN = {"apiVersion", "kind", "namespace", "images", "resources", "configMapGenerator"}


def read(path: Path) -> list[Object]:
    """The objects of one file."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document is not None]


def build(folder: Path) -> list[Object]:
    """The objects of a folder. Generated ConfigMaps keep their plain names; everything else is as kustomize has it."""
    wanted = read(folder / "kustomization.yaml")[0]
    assert set(wanted) <= KNOWN, f"{folder}: {set(wanted) - KNOWN} is not read here"
    objects = [each for name in wanted["resources"] for each in read(folder / name)]
    for entry in wanted.get("configMapGenerator", []):
        data = {name: (folder / name).read_text() for name in entry["files"]}
        objects.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": entry["name"]}, "data": data})
    for each in objects:
        if "namespace" in wanted:
            each["metadata"]["namespace"] = wanted["namespace"]
        for container in containers(each):
            for image in wanted.get("images", []):
                if container["image"] == image["name"]:
                    container["image"] = f"{image['newName']}:{image['newTag']}"
    return objects


def containers(workload: Object) -> list[Object]:
    pod: Object = workload.get("spec", {}).get("template", {}).get("spec", {})
    return list(pod.get("containers", []))
