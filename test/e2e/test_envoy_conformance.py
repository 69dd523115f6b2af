"""Envoy's own scenarios of a server (test/scenarios/envoy), through every version of Envoy."""

from __future__ import annotations

import envoy_cases
from rig import envoy_versions


def test_every_scenario_passes(version: str) -> None:
    cases = envoy_cases.load()
    faults = {case["id"] for case in cases if case["fault"]}
    results = envoy_cases.run(version, cases=cases)
    assert len(results) > len(cases) / 2
    wrong = [f"{name}: {'; '.join(texts)}" for name, texts in results.items() if texts and name not in faults]
    assert wrong == []


def test_columns_and_versions_are_those_that_there_are() -> None:
    versions = set(envoy_versions())
    for case in envoy_cases.load():
        assert set(case["not_producible"]) <= {"in process", "envoy", *versions}, case["place"]
        assert all(case["not_producible"].values()), case["place"]
        assert set(case["version"]) <= versions, case["place"]
        for differs in case["version"].values():
            assert differs.get("because"), case["place"]
            assert set(differs) <= {"because", "client", "upstream", "counters"}, case["place"]
        assert set(case["counters"]) <= set(envoy_cases.COUNTED), case["place"]


def test_a_difference_is_seen() -> None:
    seen = envoy_cases.Seen([(":status", "200"), ("a", "1"), ("a", "2")], b"body", {"t": "1"})
    fine = {"headers": [":status: 200", "a: 1", "a: 2"], "absent": ["b"], "body": "body", "trailers": ["t: 1"]}
    assert envoy_cases.compare("client", fine, seen) == []
    for other in ({"headers": ["a: 1"]}, {"absent": ["a"]}, {"body": "other"}, {"trailers": []}, {"headers": ["c: 1"]}):
        assert len(envoy_cases.compare("client", fine | other, seen)) == 1, other
