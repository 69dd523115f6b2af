#pragma once

/// The C++17 layer for plugins of extprocd: header-only, nothing but the standard library, compiled into the
/// plugin. docs/plugins.md shows how to begin; sdk/examples/tenant_header is a whole plugin.
///
///     class MyPlugin : public extproc::Plugin {
///      public:
///       MyPlugin(const extproc::Config& config, extproc::Host& host);
///       struct Stream : extproc::Stream<MyPlugin> {
///         using extproc::Stream<MyPlugin>::Stream;
///         extproc::Action on_request_headers(extproc::HeaderMap& headers, extproc::EndOfStream end)
///         override;
///       };
///     };
///     EXTPROC_EXPORT_PLUGIN(MyPlugin, "example.my-plugin", "1.0.0")

#include <extproc/action.hpp>
#include <extproc/body.hpp>
#include <extproc/config.hpp>
#include <extproc/export.hpp>
#include <extproc/facts.hpp>
#include <extproc/headers.hpp>
#include <extproc/host.hpp>
#include <extproc/metrics.hpp>
#include <extproc/phase.hpp>
#include <extproc/reply_stream.hpp>
#include <extproc/resume.hpp>
#include <extproc/status.hpp>
#include <extproc/store.hpp>
#include <extproc/stream.hpp>
#include <extproc/value.hpp>
