// Answers every request itself, and gives its body back piece by piece while it is still coming.
#include <string>

#include <extproc/plugin.hpp>

class ReplyInPieces : public extproc::Plugin {
 public:
  ReplyInPieces(const extproc::Config& config, extproc::Host&)
      : greeting_(config.string_or("greeting", "you sent: ")) {}

  struct Stream : extproc::Stream<ReplyInPieces> {
    using extproc::Stream<ReplyInPieces>::Stream;

    extproc::Action on_request_headers(extproc::HeaderMap&, extproc::EndOfStream) override {
      return begin_reply(extproc::reply(200, plugin().greeting_).header("content-type", "text/plain"));
    }

    extproc::Action on_request_body(const extproc::Body& body, extproc::EndOfStream end) override {
      bytes_ += body.size();
      extproc::ReplyStream reply = reply_stream();
      for (std::size_t i = 0; i < body.slice_count(); ++i) reply.write(body.slice(i));
      // A reply that is sent as one has no trailers, and ends all the same.
      if (end) reply.try_end({{"x-bytes", std::to_string(bytes_)}});
      return extproc::proceed();
    }

   private:
    std::size_t bytes_ = 0;
  };

 private:
  std::string greeting_;
};

EXTPROC_EXPORT_PLUGIN(ReplyInPieces, "example.reply-in-pieces", "1.0.0")
