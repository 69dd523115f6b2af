"""JSON schemas of the kinds of kgateway and of the Gateway API that the manifests use, with the fields that an external
processor needs. Written from the APIs' references: gateway.kgateway.dev/v1alpha1 and gateway.networking.k8s.io."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def table(required: str = "", exactly_one: str = "", **fields: Schema) -> Schema:
    """An object with these fields and no other."""
    schema: Schema = {"type": "object", "properties": fields, "required": required.split(), "additionalProperties": False}
    if exactly_one:
        schema["oneOf"] = [{"required": [name]} for name in exactly_one.split()]
    return schema


def several(items: Schema, least: int = 1, most: int = 64) -> Schema:
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}


def one_of(*values: str) -> Schema:
    return {"enum": list(values)}


def number(least: int, most: int) -> Schema:
    return {"type": "integer", "minimum": least, "maximum": most}


TEXT: Schema = {"type": "string", "minLength": 1}
GROUP: Schema = {"type": "string", "pattern": r"^$|^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"}
NAME: Schema = {"type": "string", "pattern": r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$", "maxLength": 253}
HOST: Schema = {"type": "string", "pattern": r"^(\*\.)?[a-z0-9]([-.a-z0-9]*[a-z0-9])?$", "maxLength": 253}
BOOLEAN: Schema = {"type": "boolean"}
PORT = number(1, 65535)
# At least a millisecond.
DURATION: Schema = {"type": "string", "pattern": r"^([0-9]{1,5}(h|m|s|ms)){1,4}$",
                    "not": {"pattern": r"^(0+(h|m|s|ms))+$"}}

HEADER_MODE = one_of("DEFAULT", "SEND", "SKIP")
BODY_MODE = one_of("NONE", "STREAMED", "BUFFERED", "BUFFERED_PARTIAL", "FULL_DUPLEX_STREAMED")
PROCESSING_MODE = table(
    requestHeaderMode=HEADER_MODE, responseHeaderMode=HEADER_MODE,
    requestBodyMode=BODY_MODE, responseBodyMode=BODY_MODE,
    requestTrailerMode=HEADER_MODE, responseTrailerMode=HEADER_MODE,
)

BACKEND_REF = table("name", group=GROUP, kind=TEXT, name=NAME, namespace=NAME, port=PORT, weight=number(0, 1_000_000))

GATEWAY_EXTENSION = table(
    "extProc",
    extProc=table(
        "grpcService",
        grpcService=table(
            "backendRef",
            backendRef=BACKEND_REF,
            authority=TEXT,
            requestTimeout=DURATION,
            retry=table(attempts=number(0, 2**31 - 1),
                        backoff=table("baseInterval", baseInterval=DURATION, maxInterval=DURATION)),
        ),
        failOpen=BOOLEAN,
        processingMode=PROCESSING_MODE,
        allowProcessingModeOverride=BOOLEAN,
        allowedProcessingModeOverrides=several(PROCESSING_MODE),
        messageTimeout=DURATION,
        maxMessageTimeout=DURATION,
        statPrefix=TEXT,
        routeCacheAction=one_of("FromResponse", "Clear", "Retain"),
        metadataOptions=table(forwarding=table(typed=several(TEXT), untyped=several(TEXT))),
        requestAttributes=several(TEXT),
        filterStage=table("stage", stage=one_of("Fault", "AuthN", "AuthZ", "RateLimit", "Route"),
                          predicate=one_of("Before", "During", "After"), weight=number(-2**31, 2**31 - 1)),
    ),
)

TRAFFIC_POLICY = table(
    "extProc",
    targetRefs=several(table("group kind name", group=one_of("gateway.networking.k8s.io"),
                             kind=one_of("Gateway", "HTTPRoute"), name=NAME, sectionName=NAME), most=16),
    extProc=table(exactly_one="extensionRef disable",
                  extensionRef=table("name", name=NAME, namespace=NAME),
                  disable=table(),
                  processingMode=PROCESSING_MODE),
)

FILTER = table(
    "type",
    type=one_of("ExtensionRef"),
    extensionRef=table("group kind name", group=GROUP, kind=TEXT, name=NAME),
)
HTTP_ROUTE = table(
    "parentRefs rules",
    parentRefs=several(table("name", group=GROUP, kind=TEXT, name=NAME, namespace=NAME, sectionName=NAME, port=PORT), most=32),
    hostnames=several(HOST, most=16),
    rules=several(table(
        "matches backendRefs",
        name=NAME,
        matches=several(table("path", path=table("type value", type=one_of("PathPrefix", "Exact", "RegularExpression"),
                                                 value={"type": "string", "pattern": "^/"}))),
        filters=several(FILTER | {"required": ["type", "extensionRef"]}, most=16),
        backendRefs=several(BACKEND_REF, most=16),
    ), most=16),
)

REFERENCE_GRANT = table("from to", to=several(table("group kind", group=GROUP, kind=TEXT, name=NAME), most=16))
REFERENCE_GRANT["properties"]["from"] = several(table("group kind namespace", group=GROUP, kind=TEXT, namespace=NAME), most=16)


def whole(version: str, kind: str, spec: Schema) -> Schema:
    texts = {"type": "object", "additionalProperties": {"type": "string"}}
    return table("apiVersion kind metadata spec", apiVersion=one_of(version), kind=one_of(kind), spec=spec,
                 metadata=table("name namespace", name=NAME, namespace=NAME, labels=texts, annotations=texts))


SCHEMAS = {
    "GatewayExtension": whole("gateway.kgateway.dev/v1alpha1", "GatewayExtension", GATEWAY_EXTENSION),
    "TrafficPolicy": whole("gateway.kgateway.dev/v1alpha1", "TrafficPolicy", TRAFFIC_POLICY),
    "HTTPRoute": whole("gateway.networking.k8s.io/v1", "HTTPRoute", HTTP_ROUTE),
    "ReferenceGrant": whole("gateway.networking.k8s.io/v1beta1", "ReferenceGrant", REFERENCE_GRANT),
}
