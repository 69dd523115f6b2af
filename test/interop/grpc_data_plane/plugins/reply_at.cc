// A plugin that answers with an immediate response where its configuration says.
#include <string>

#include <extproc/plugin.hpp>

class ReplyAt : public extproc::Plugin {
 public:
  ReplyAt(const extproc::Config& config, extproc::Host&) : phase_(config.required_string("phase")) {}

  struct Stream : extproc::Stream<ReplyAt> {
    using extproc::Stream<ReplyAt>::Stream;

    extproc::Action on_request_headers(extproc::HeaderMap&, extproc::EndOfStream) override {
      return at("request_headers");
    }
    extproc::Action on_request_body(const extproc::Body&, extproc::EndOfStream) override {
      return at("request_body");
    }
    extproc::Action on_response_headers(extproc::HeaderMap&, extproc::EndOfStream) override {
      return at("response_headers");
    }

   private:
    extproc::Action at(const std::string& phase) {
      if (plugin().phase_ != phase) return extproc::proceed();
      return extproc::reply(403).grpc_status(extproc::GrpcCode::kPermissionDenied).details("not today");
    }
  };

 private:
  std::string phase_;
};

EXTPROC_EXPORT_PLUGIN(ReplyAt, "test.reply-at", "1.0.0")
