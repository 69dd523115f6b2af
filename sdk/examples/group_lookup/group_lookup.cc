// Asks a directory for the user's group, and tells it to the upstream; the request waits, no thread does.
#include <string>

#include "directory.h"
#include <extproc/plugin.hpp>

class GroupLookup : public extproc::Plugin {
 public:
  GroupLookup(const extproc::Config& config, extproc::Host&)
      : directory_(config.string_or("address", "127.0.0.1"),
                   static_cast<std::uint16_t>(config.integer_or("port", 7070, 1, 65535))) {}

  struct Stream : extproc::Stream<GroupLookup> {
    using extproc::Stream<GroupLookup>::Stream;

    extproc::Action on_request_headers(extproc::HeaderMap& headers, extproc::EndOfStream) override {
      const std::string user(headers.first("x-user").value_or(""));
      return suspend([&](extproc::Resume resume) {
        plugin().directory_.look_up(user, [this, resume](const std::string& group) {
          resume([this, group] { return decide(group); });  // which runs on the stream's thread
        });
      });
    }

   private:
    extproc::Action decide(const std::string& group) {
      if (group.empty()) return extproc::reply(403, "nobody knows you\n");
      current_headers().set("x-group", group);
      return extproc::proceed();
    }
  };

 private:
  Directory directory_;
};

EXTPROC_EXPORT_PLUGIN(GroupLookup, "example.group-lookup", "1.0.0")
