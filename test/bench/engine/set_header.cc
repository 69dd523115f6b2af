// A plugin that sets one header of each request and nothing else.
#include <extproc/plugin.hpp>

class SetHeader : public extproc::Plugin {
 public:
  SetHeader(const extproc::Config&, extproc::Host&) {}

  struct Stream : extproc::Stream<SetHeader> {
    using extproc::Stream<SetHeader>::Stream;
    extproc::Action on_request_headers(extproc::HeaderMap& headers, extproc::EndOfStream) override {
      headers.set("x-bench", "set");
      return extproc::proceed();
    }
  };
};

EXTPROC_EXPORT_PLUGIN(SetHeader, "bench.set-header", "1.0.0")
