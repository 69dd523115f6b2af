// Holds and skips as a request's header x-do says, and tells in the response's headers what came of it.

#include <string>

#include <extproc/plugin.hpp>

namespace {

using extproc::Action;
using extproc::Body;
using extproc::EndOfStream;
using extproc::HeaderMap;
using extproc::Phase;

class ControlProbe : public extproc::Plugin {
 public:
  static constexpr extproc::BodyAccess request_body_access = extproc::BodyAccess::kWhole;

  ControlProbe(const extproc::Config&, extproc::Host&) {}

  struct Stream : extproc::Stream<ControlProbe> {
    using extproc::Stream<ControlProbe>::Stream;

    Action on_request_headers(HeaderMap& headers, EndOfStream) override {
      const std::string what(headers.first("x-do").value_or(""));
      if (what == "skip responses") skip(Phase::kResponseHeaders, Phase::kResponseBody);
      if (what == "skip bodies") skip(Phase::kRequestBody);
      if (what == "finish") return extproc::finish();
      return what == "hold" ? extproc::hold() : extproc::proceed();
    }

    Action on_request_body(const Body& body, EndOfStream) override {
      said_ = extproc::to_string(held_request_headers().try_set("x-size", std::to_string(body.size())));
      return extproc::proceed();
    }

    Action on_response_headers(HeaderMap& headers, EndOfStream) override {
      headers.set("x-said", said_);
      return extproc::proceed();
    }

   private:
    std::string said_ = "nothing";
  };
};

}  // namespace

EXTPROC_EXPORT_PLUGIN(ControlProbe, "test.control-probe", "1.0.0")
