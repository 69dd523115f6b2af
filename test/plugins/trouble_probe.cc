// Blocks its thread, or fails, as a request's header x-do says; without it, it tells that it was called.

#include <cstdlib>
#include <string>
#include <thread>

#include <extproc/plugin.hpp>

namespace trouble {

/// What a stack must name.
[[gnu::noinline]] int block(int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
  return milliseconds + 1;  // no tail call
}

class TroubleProbe : public extproc::Plugin {
 public:
  TroubleProbe(const extproc::Config&, extproc::Host&) {}

  struct Stream : extproc::Stream<TroubleProbe> {
    using extproc::Stream<TroubleProbe>::Stream;

    extproc::Action on_request_headers(extproc::HeaderMap& headers, extproc::EndOfStream) override {
      const std::string what(headers.first("x-do").value_or(""));
      if (what == "fail") return extproc::fail(extproc::GrpcCode::kUnknown, "as told");
      if (what.rfind("block ", 0) == 0) block(std::atoi(what.c_str() + 6));
      headers.set("x-probe", "called");
      return extproc::proceed();
    }
  };
};

}  // namespace trouble

using trouble::TroubleProbe;
EXTPROC_EXPORT_PLUGIN(TroubleProbe, "test.trouble-probe", "1.0.0")
