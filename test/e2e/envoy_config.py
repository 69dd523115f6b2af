"""Envoy configuration in the shape in which kgateway generates it: a disabled filter for each GatewayExtension, wrapped
into a Composite filter that a metadata switch can turn off, and enabled for each route."""

from __future__ import annotations

from typing import Any

TYPE = "type.googleapis.com/"
FILTER = "ext_proc/default/ext-proc-extension"
SWITCH = "global_disable/ext_proc"
SWITCH_NAMESPACE = "dev.kgateway.disable_ext_proc"


def any_of(name: str, **fields: Any) -> dict[str, Any]:
    return {"@type": TYPE + name, **fields}


def address(text: str) -> dict[str, Any]:
    if text.startswith("unix:"):
        return {"pipe": {"path": text[5:]}}
    host, _, port = text.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}


def buffer(limit: int) -> dict[str, Any]:
    """The buffer limit of a listener or cluster; 0 for Envoy's own, 1 MiB."""
    return {"per_connection_buffer_limit_bytes": limit} if limit else {}


def cluster(name: str, target: str, http2: bool, buffer_limit: int = 0) -> dict[str, Any]:
    version = {"http2_protocol_options": {}} if http2 else {"http_protocol_options": {"enable_trailers": True}}
    options = any_of("envoy.extensions.upstreams.http.v3.HttpProtocolOptions", explicit_http_config=version)
    return {
        "name": name,
        "connect_timeout": "5s",
        "type": "STATIC",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(target)}}]}],
        },
    } | buffer(buffer_limit)


def ext_proc(**fields: Any) -> dict[str, Any]:
    """The inner filter; without fields as kgateway makes it from nothing but a backend, but closed on failure."""
    return any_of(
        "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
        **({"grpc_service": {"envoy_grpc": {"cluster_name": "extprocd"}}, "message_timeout": "10s"} | fields),
    )


def wrapped(inner: dict[str, Any], name: str = FILTER) -> dict[str, Any]:
    """The filter in its Composite, which runs it unless the metadata switch is on."""
    switch = {
        "input": {
            "name": "disabled",
            "typed_config": any_of(
                "envoy.extensions.matching.common_inputs.network.v3.DynamicMetadataInput",
                filter=SWITCH_NAMESPACE,
                path=[{"key": "disable"}],
            ),
        },
        "custom_match": {
            "name": "not_true",
            "typed_config": any_of(
                "envoy.extensions.matching.input_matchers.metadata.v3.Metadata",
                value={"bool_match": True},
                invert=True,
            ),
        },
    }
    action = any_of(
        "envoy.extensions.filters.http.composite.v3.ExecuteFilterAction",
        typed_config={"name": "envoy.filters.http.ext_proc", "typed_config": inner},
    )
    return {
        "name": name,
        "disabled": True,
        "typed_config": any_of(
            "envoy.extensions.common.matching.v3.ExtensionWithMatcher",
            extension_config={
                "name": "composite_ext_proc",
                "typed_config": any_of("envoy.extensions.filters.http.composite.v3.Composite"),
            },
            xds_matcher={
                "matcher_list": {
                    "matchers": [
                        {
                            "predicate": {"single_predicate": switch},
                            "on_match": {"action": {"name": "composite-action", "typed_config": action}},
                        }
                    ]
                }
            },
        ),
    }


def enabled(*names: str, overrides: dict[str, Any] | None = None) -> dict[str, Any]:
    """The per-filter configuration of a route, virtual host or weighted cluster that switches filters on."""
    per_route = any_of("envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute", overrides=overrides or {})
    return dict.fromkeys(names, per_route)


def switched_off() -> dict[str, Any]:
    """The per-filter configuration that turns the metadata switch on, and thereby every ext_proc filter off."""
    return {SWITCH: any_of("envoy.config.route.v3.FilterConfig", config={})}


def route(prefix: str, *, processed: bool, overrides: dict[str, Any] | None = None, rewrite: str = "", off: bool = False,
          to: str = "upstream") -> dict[str, Any]:
    """A route to a cluster; `off` also turns the metadata switch on."""
    per_filter = (enabled(FILTER, overrides=overrides) if processed else {}) | (switched_off() if off else {})
    action: dict[str, Any] = {"cluster": to}
    if rewrite:
        action["prefix_rewrite"] = rewrite
    return {"match": {"prefix": prefix}, "route": action, "typed_per_filter_config": per_filter}


def listener(name: str, port: int, hosts: dict[str, Any], filters: list[dict[str, Any]],
             upstream_filters: list[dict[str, Any]] | None = None, buffer_limit: int = 0, **more: Any) -> dict[str, Any]:
    """A listener for HTTP/1.1 and HTTP/2 with the fields of its route configuration, these filters between the switch and
    the router, or behind the router, and further fields of its connection manager."""
    switch = {
        "name": SWITCH,
        "disabled": True,
        "typed_config": any_of(
            "envoy.extensions.filters.http.set_metadata.v3.Config",
            metadata=[{"metadata_namespace": SWITCH_NAMESPACE, "value": {"disable": True}}],
        ),
    }
    router = any_of("envoy.extensions.filters.http.router.v3.Router")
    if upstream_filters:
        codec = any_of("envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec")
        router["upstream_http_filters"] = [
            *upstream_filters, {"name": "envoy.filters.http.upstream_codec", "typed_config": codec}
        ]
    manager = any_of(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name,
        http_protocol_options={"enable_trailers": True},
        route_config={"name": name, **hosts},
        http_filters=[switch, *filters, {"name": "envoy.filters.http.router", "typed_config": router}],
        **more,
    )
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {"name": name, "address": address(f"127.0.0.1:{port}"), "filter_chains": [chain]} | buffer(buffer_limit)


def static(admin_port: int, listeners: list[dict[str, Any]], clusters: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "admin": {"address": address(f"127.0.0.1:{admin_port}")},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    }


def bootstrap(port: int, admin_port: int, upstream: str, extprocd: str, routes: list[dict[str, Any]],
              inner: dict[str, Any], buffer_limit: int = 0) -> dict[str, Any]:
    """One listener with one filter. Clusters: the upstream in HTTP/1.1 and, as `upstream-http2`, in HTTP/2; `nowhere`,
    where nobody listens; extprocd."""
    hosts = {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]}
    upgrades = [{"upgrade_type": "websocket"}]
    clusters = [
        cluster("upstream", upstream, http2=False, buffer_limit=buffer_limit),
        cluster("upstream-http2", upstream, http2=True, buffer_limit=buffer_limit),
        cluster("nowhere", "127.0.0.1:1", http2=False),
        cluster("extprocd", extprocd, http2=True, buffer_limit=buffer_limit),
    ]
    http = listener("http", port, hosts, [wrapped(inner)], buffer_limit=buffer_limit, upgrade_configs=upgrades)
    return static(admin_port, [http], clusters)
