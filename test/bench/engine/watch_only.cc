// A plugin that asks for both headers phases and does nothing: what it costs is what calling a plugin costs.
#include <extproc/plugin.hpp>

class WatchOnly : public extproc::Plugin {
 public:
  WatchOnly(const extproc::Config&, extproc::Host&) {}

  struct Stream : extproc::Stream<WatchOnly> {
    using extproc::Stream<WatchOnly>::Stream;
    extproc::Action on_request_headers(extproc::HeaderMap&, extproc::EndOfStream) override {
      return extproc::proceed();
    }
    extproc::Action on_response_headers(extproc::HeaderMap&, extproc::EndOfStream) override {
      return extproc::proceed();
    }
  };
};

EXTPROC_EXPORT_PLUGIN(WatchOnly, "bench.watch-only", "1.0.0")
