// A plugin to begin with: it greets upstream and client in a header, and counts responses by class of status.
// Copy this folder, rename `greeting` in CMakeLists.txt, here and in extprocd.toml, and change what it does.

#include <array>
#include <string>

#include <extproc/plugin.hpp>

class Greeting : public extproc::Plugin {
 public:
  /// Reads [plugin.config]. A missing key or a wrong type stops the server from starting, with file, line and column.
  Greeting(const extproc::Config& config, extproc::Host& host)
      : header_(config.string_or("header", "x-greeting")),
        text_(config.required_string("text")),
        responses_{
            host.counter("responses_total", "Responses, by class of status.", {{"class", "2xx"}}),
            host.counter("responses_total", "Responses, by class of status.", {{"class", "other"}}),
        } {
    host.info("greets with '", text_, "' in ", header_);
  }

  /// One HTTP request with its response. Override what is needed; what is not overridden costs nothing.
  struct Stream : extproc::Stream<Greeting> {
    using extproc::Stream<Greeting>::Stream;

    extproc::Action on_request_headers(extproc::HeaderMap& headers, extproc::EndOfStream) override {
      headers.set(plugin().header_, plugin().text_);
      return extproc::proceed();
    }

    extproc::Action on_response_headers(extproc::HeaderMap& headers, extproc::EndOfStream) override {
      const auto status = headers.first(":status");
      const bool good = status && status->size() == 3 && status->front() == '2';
      plugin().responses_[good ? 0 : 1].increment();
      headers.set(plugin().header_, plugin().text_);
      return extproc::proceed();
    }
  };

 private:
  std::string header_;
  std::string text_;
  std::array<extproc::Counter, 2> responses_;
};

EXTPROC_EXPORT_PLUGIN(Greeting, "example.greeting", "1.0.0")
