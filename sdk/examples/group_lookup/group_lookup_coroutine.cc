// The same as group_lookup.cc, as a coroutine.
#include <string>

#include "directory.h"
#include <extproc/coroutine.hpp>
#include <extproc/plugin.hpp>

class GroupLookup : public extproc::Plugin {
 public:
  GroupLookup(const extproc::Config& config, extproc::Host&)
      : directory_(config.string_or("address", "127.0.0.1"),
                   static_cast<std::uint16_t>(config.integer_or("port", 7070, 1, 65535))) {}

  struct Stream : extproc::Stream<GroupLookup> {
    using extproc::Stream<GroupLookup>::Stream;

    extproc::Action on_request_headers(extproc::HeaderMap& headers, extproc::EndOfStream) override {
      return run(check(std::string(headers.first("x-user").value_or(""))));
    }

   private:
    extproc::Task check(std::string user) {
      const std::string group = co_await extproc::async<std::string>(
          [&](extproc::Completion<std::string> done) { plugin().directory_.look_up(user, done); });
      if (group.empty()) co_return extproc::reply(403, "nobody knows you\n");
      current_headers().set("x-group", group);
      co_return extproc::proceed();
    }
  };

 private:
  Directory directory_;
};

EXTPROC_EXPORT_PLUGIN(GroupLookup, "example.group-lookup-coroutine", "1.0.0")
