// Blocks its thread in each request, for a time and then until a file is there: what `may_block` is for.

#include <chrono>
#include <filesystem>
#include <string>
#include <thread>

#include <extproc/plugin.hpp>

namespace {

class Sleeper : public extproc::Plugin {
 public:
  Sleeper(const extproc::Config& config, extproc::Host&)
      : time_(config.integer_or("milliseconds", 0, 0, 60'000)), file_(config.string_or("until", "")) {}

  struct Stream : extproc::Stream<Sleeper> {
    using extproc::Stream<Sleeper>::Stream;

    extproc::Action on_request_headers(extproc::HeaderMap& headers, extproc::EndOfStream) override {
      std::this_thread::sleep_for(plugin().time_);
      while (!plugin().file_.empty() && !std::filesystem::exists(plugin().file_)) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
      headers.set("x-slept", std::to_string(plugin().time_.count()));
      return extproc::proceed();
    }
  };

 private:
  std::chrono::milliseconds time_;
  std::string file_;
};

}  // namespace

EXTPROC_EXPORT_PLUGIN(Sleeper, "test.sleeper", "1.0.0")
