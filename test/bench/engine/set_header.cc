// A plugin that sets one header of each request, called after the plugin, and nothing else.
#include <string>

#include <extproc/plugin.hpp>

class SetHeader : public extproc::Plugin {
 public:
  SetHeader(const extproc::Config&, extproc::Host& host) : header_("x-" + std::string(host.name())) {}

  struct Stream : extproc::Stream<SetHeader> {
    using extproc::Stream<SetHeader>::Stream;
    extproc::Action on_request_headers(extproc::HeaderMap& headers, extproc::EndOfStream) override {
      headers.set(plugin().header_, "set");
      return extproc::proceed();
    }
  };

 private:
  std::string header_;
};

EXTPROC_EXPORT_PLUGIN(SetHeader, "bench.set-header", "1.0.0")
