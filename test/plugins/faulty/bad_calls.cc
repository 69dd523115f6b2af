#include "bad_calls.h"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>

namespace faulty {
namespace {

constexpr std::size_t kHuge = std::numeric_limits<std::size_t>::max();
constexpr extproc_str kNothing = {nullptr, kHuge};
constexpr uint32_t kNoNumber = std::numeric_limits<uint32_t>::max();

class Calls {
 public:
  explicit Calls(const Turn& turn) : turn_(turn), host_(turn.host()), call_(turn.call) {}

  void headers() {
    const extproc_host& table = *host_.table;
    const extproc_header* entries = nullptr;
    std::size_t count = 0;
    extproc_str value{};
    refused("headers of no map", table.headers(call_, kNoNumber, &entries, &count));
    refused("headers to null", table.headers(call_, turn_.phase, nullptr, nullptr));
    refused("header_get of no map", table.header_get(call_, kNoNumber, abi("a"), &value));
    refused("header_get of no name", table.header_get(call_, EXTPROC_REQUEST_HEADERS, kNothing, &value));
    refused("header_get to null", table.header_get(call_, EXTPROC_REQUEST_HEADERS, abi("a"), nullptr));
    for (const extproc_str& name :
         {kNothing, extproc_str{nullptr, 0}, abi("a b"), abi("a\r\nb"), abi(":x")}) {
      refused("header_set", table.header_set(call_, turn_.phase, name, abi("1")));
      refused("header_add", table.header_add(call_, turn_.phase, name, abi("1")));
      refused("header_remove", table.header_remove(call_, turn_.phase, name));
    }
    refused("a value of two lines", table.header_set(call_, turn_.phase, abi("x-a"), abi("1\r\nx-b: 2")));
    refused("header_set of no map", table.header_set(call_, kNoNumber, abi("x-a"), abi("1")));
    refused("body to null", table.body(call_, nullptr, nullptr));
  }

  void replies() {
    const extproc_header headers[] = {{kNothing, kNothing}};
    refused("reply of null", host_.table->reply(call_, nullptr));
    for (const uint32_t status : {0U, 99U, 199U, 600U, kNoNumber}) reply("its status", {.status = status});
    reply("its grpc_status", {.grpc_status = 17});
    reply("its size", {.struct_size = 4});
    reply("headers that are null", {.headers = nullptr, .headers_count = 1});
    reply("headers without end", {.headers = headers, .headers_count = kHuge});
    reply("a header without a name", {.headers = headers, .headers_count = 1});
    refused("begin of null", host_.streamed_reply->begin(call_, nullptr));
    refused("write without a reply", host_.streamed_reply->write(call_, kNothing));
    refused("end without a reply", host_.streamed_reply->end(call_, nullptr, kHuge));
  }

  void metadata() {
    const std::string deep(100'000, '[');
    const extproc_metadata_api_2& api = *host_.metadata_2;
    const extproc_value* value = nullptr;
    refused("set_string without names", host_.metadata->set_string(call_, kNothing, kNothing, kNothing));
    refused("text that is not UTF-8", host_.metadata->set_string(call_, abi("a"), abi("b"), abi("\xff")));
    refused("metadata to null", api.metadata(call_, abi("a"), abi("b"), nullptr));
    refused("attribute of no name", api.attribute(call_, kNothing, &value));
    refused("set_json of nothing", api.set_json(call_, abi("a"), abi("b"), kNothing));
    refused("set_json of no JSON", api.set_json(call_, abi("a"), abi("b"), abi("{")));
    refused("set_json too deep", api.set_json(call_, abi("a"), abi("b"), abi(deep)));
    refused("set_typed without a type", api.set_typed(call_, abi("a"), kNothing, kNothing));
    refused("remove of what is not there", api.remove(call_, kNothing, kNothing));
    if (api.type(nullptr) != EXTPROC_VALUE_NULL) wrong_.emplace_back("null has a type");
    if (api.size(nullptr) != 0 || api.at(nullptr, kHuge, nullptr) != nullptr)
      wrong_.emplace_back("null has parts");
    refused("store to null", host_.store->get(call_, abi("a"), nullptr));
    refused("remove from the store", host_.store->remove(call_, abi("never set")));
  }

  void control() {
    refused("write of nothing", host_.body->write(call_, kNothing));
    refused("skip of no phase", host_.control->skip(call_, kNoNumber));
    refused("no more time", host_.control->extend_timeout(call_, 0));
    refused("time without end", host_.control->extend_timeout(call_, std::numeric_limits<uint64_t>::max()));
    refused("suspend to null", host_.async->suspend(call_, nullptr));
    refused("resume_after of no handle", host_.async->resume_after(call_, 0, 0, 0));
    refused("resume of no handle", host_.async->resume(host_.table, 0, 0));
    if (host_.work != nullptr) refused("no work", host_.work->run(host_.table, 0, nullptr, nullptr));
    if (host_.table->get_extension(host_.table, "no.such/1") != nullptr) wrong_.emplace_back("no.such/1");
    host_.table->log(host_.table, kNoNumber, kNothing);
  }

  std::vector<std::string_view> wrong() && { return std::move(wrong_); }

 private:
  struct Reply {
    uint32_t struct_size = sizeof(extproc_reply);
    uint32_t status = 200;
    const extproc_header* headers = nullptr;
    std::size_t headers_count = 0;
    int32_t grpc_status = -1;
  };

  void refused(std::string_view what, extproc_status status) {
    if (status == EXTPROC_OK) wrong_.push_back(what);
  }

  void reply(std::string_view what, const Reply& bad) {
    const extproc_reply reply = {bad.struct_size, bad.status, bad.headers,     bad.headers_count,
                                 kNothing,        kNothing,   bad.grpc_status, 0};
    refused(what, host_.table->reply(call_, &reply));
  }

  const Turn& turn_;
  const Host& host_;
  extproc_call* call_;
  std::vector<std::string_view> wrong_;
};

}  // namespace

std::vector<std::string_view> make_bad_calls(const Turn& turn) {
  Calls calls(turn);
  calls.headers();
  calls.replies();
  calls.metadata();
  calls.control();
  return std::move(calls).wrong();
}

}  // namespace faulty
