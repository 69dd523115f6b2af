// Replaces a word in text while it flows by, also where the word is cut into two pieces.
#include <algorithm>
#include <string>
#include <string_view>

#include <extproc/plugin.hpp>

class StreamRewriter : public extproc::Plugin {
 public:
  static constexpr extproc::BodyAccess request_body_access = extproc::BodyAccess::kStream;
  static constexpr extproc::BodyAccess response_body_access = extproc::BodyAccess::kStream;
  static constexpr const char* request_body_types[] = {"text", nullptr};  // text/plain, text/html, ...
  static constexpr const char* response_body_types[] = {"text", nullptr};

  StreamRewriter(const extproc::Config& config, extproc::Host&)
      : word_(config.required_string("word")), replacement_(config.string_or("replacement", "")) {
    if (word_.empty()) config.error("word", "must not be empty");
  }

  struct Stream : extproc::Stream<StreamRewriter> {
    using extproc::Stream<StreamRewriter>::Stream;

    extproc::Action on_request_body(extproc::Body& body, extproc::EndOfStream end) override {
      return plugin().rewrite(body, end);
    }
    extproc::Action on_response_body(extproc::Body& body, extproc::EndOfStream end) override {
      return plugin().rewrite(body, end);
    }
  };

 private:
  extproc::Action rewrite(extproc::Body& body, extproc::EndOfStream end) const {
    std::string_view rest = body.view();  // what was held back, and the new piece behind it
    for (std::size_t at = rest.find(word_); at != rest.npos; at = rest.find(word_)) {
      body.forward(at);
      body.drop(word_.size());
      body.write(replacement_);
      rest.remove_prefix(at + word_.size());
    }
    if (end) return extproc::proceed();  // what is left goes on
    const std::size_t held = begun_word(rest);
    body.forward(rest.size() - held);
    return held == 0 ? extproc::proceed() : extproc::hold();
  }

  // How many bytes at the end of `text` may be the beginning of the word: less than the word has.
  std::size_t begun_word(std::string_view text) const {
    std::size_t length = std::min(text.size(), word_.size() - 1);
    while (text.substr(text.size() - length) != std::string_view(word_).substr(0, length)) --length;
    return length;
  }

  std::string word_, replacement_;
};

EXTPROC_EXPORT_PLUGIN(StreamRewriter, "example.stream-rewriter", "1.0.0")
