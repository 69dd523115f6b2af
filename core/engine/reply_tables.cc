// The host functions by which a plugin replies: at once, or in pieces.

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "core/engine/abi_text.h"
#include "core/engine/call.h"
#include "core/engine/host_call.h"
#include "core/http/header_syntax.h"

namespace extprocd::engine {
namespace {

/// Checks a header of a reply; `name` gets its name in lower case.
extproc_status check_header(extproc_call* call, const extproc_header& header, std::string_view& name) {
  const std::string_view raw = from_abi(header.name);
  const std::string_view value = from_abi(header.value);
  if (!http::is_valid_name(raw) || !http::is_valid_value(value)) {
    return refuse_header(call, EXTPROC_INVALID, raw, "not a valid name or value");
  }
  name = http::lower_case(raw, call->exchange.arena);
  const std::string_view reason =
      header_refusal(call->exchange, http::MapKind::kLocalReply, http::Operation::kSet, name, value, false);
  return reason.empty() ? EXTPROC_OK : refuse_header(call, EXTPROC_FORBIDDEN, name, reason);
}

extproc_status check_count(extproc_call* call, const extproc_header* headers, size_t count) {
  if (headers == nullptr && count > 0) {
    return refuse(call, EXTPROC_INVALID, "the reply's headers are null but their count is not 0");
  }
  if (count > call->exchange.rules.max_headers) {
    return refuse(call, EXTPROC_LIMIT, "the reply has more headers than mutation_rules.max_headers");
  }
  return EXTPROC_OK;
}

extproc_status prepare(extproc_call* call, const extproc_reply* reply) {
  if (reply == nullptr || !EXTPROC_HAS(reply, extproc_reply, grpc_status)) {
    return refuse(call, EXTPROC_INVALID, "the reply is null or its struct_size too small");
  }
  if (!call->may_edit || call->phase == EXTPROC_LOCAL_REPLY || call->replies_in_pieces ||
      !call->exchange.reply_possible) {
    return refuse(call, EXTPROC_TOO_LATE, "an immediate response cannot go out any more");
  }
  if (reply->status < 200 || reply->status > 599) {
    return refuse(call, EXTPROC_INVALID, "the status of an immediate response must be 200 to 599");
  }
  if (reply->grpc_status < -1 || reply->grpc_status > 16) {
    return refuse(call, EXTPROC_INVALID,
                  "the gRPC status of an immediate response must be 0 to 16, or -1 for none");
  }
  if (const auto wrong = check_count(call, reply->headers, reply->headers_count); wrong != EXTPROC_OK)
    return wrong;
  http::Arena& arena = call->exchange.arena;
  http::HeaderMap fresh;
  // For on_local_reply to read; an original entry is no change, so it is not sent.
  fresh.add_original(":status", arena.copy(std::to_string(reply->status)), arena);
  for (size_t i = 0; i < reply->headers_count; ++i) {
    std::string_view name;
    if (const auto wrong = check_header(call, reply->headers[i], name); wrong != EXTPROC_OK) return wrong;
    const std::string_view value = from_abi(reply->headers[i].value);
    if (fresh.first(name)) {
      fresh.add(name, value, arena);
    } else {
      fresh.set(name, value, arena);
    }
  }
  LocalReply made;
  made.status = reply->status;
  made.body = from_abi(reply->body);
  made.details = from_abi(reply->details);
  if (reply->grpc_status >= 0) made.grpc_status = static_cast<uint32_t>(reply->grpc_status);
  *call->exchange.map(EXTPROC_LOCAL_REPLY) = std::move(fresh);
  call->reply = std::move(made);
  return EXTPROC_OK;
}

extproc_status reply(extproc_call* call, const extproc_reply* reply) {
  return guarded(call, [&] { return prepare(call, reply); });
}

extproc_status begin(extproc_call* call, const extproc_reply* reply) {
  return guarded(call, [&]() -> extproc_status {
    if (call->phase != EXTPROC_REQUEST_HEADERS) {
      return refuse(call, EXTPROC_TOO_LATE,
                    "a reply in pieces can only be begun in the request headers phase");
    }
    if (const auto wrong = prepare(call, reply); wrong != EXTPROC_OK) return wrong;
    call->reply->in_pieces = true;
    call->reply->complete = false;
    return EXTPROC_OK;
  });
}

/// The reply in pieces that can still grow; null if there is none.
LocalReply* growing(extproc_call* call) {
  if (!call->may_edit || !call->reply || !call->reply->in_pieces || call->reply->complete) return nullptr;
  return &*call->reply;
}

extproc_status write(extproc_call* call, extproc_str bytes) {
  return guarded(call, [&]() -> extproc_status {
    LocalReply* const reply = growing(call);
    if (reply == nullptr) return refuse(call, EXTPROC_TOO_LATE, "there is no reply in pieces that goes on");
    if (bytes.data == nullptr && bytes.size > 0) return refuse(call, EXTPROC_INVALID, "a null pointer");
    if (bytes.size >
        call->exchange.max_written - std::min<std::size_t>(reply->body.size(), call->exchange.max_written)) {
      return refuse(call, EXTPROC_LIMIT, "more than server.limits.max_message_size in one callback");
    }
    reply->body += from_abi(bytes);
    return EXTPROC_OK;
  });
}

extproc_status end(extproc_call* call, const extproc_header* trailers, size_t count) {
  return guarded(call, [&]() -> extproc_status {
    LocalReply* const reply = growing(call);
    if (reply == nullptr) return refuse(call, EXTPROC_TOO_LATE, "there is no reply in pieces that goes on");
    if (const auto wrong = check_count(call, trailers, count); wrong != EXTPROC_OK) return wrong;
    decltype(reply->trailers) copies;
    for (size_t i = 0; i < count; ++i) {
      std::string_view name;
      if (const auto wrong = check_header(call, trailers[i], name); wrong != EXTPROC_OK) return wrong;
      copies.emplace_back(name, from_abi(trailers[i].value));
    }
    reply->complete = true;
    if (count > 0 && !call->exchange.replies_in_pieces) {
      return refuse(call, EXTPROC_UNSUPPORTED, "the data plane takes no trailers in a local reply");
    }
    reply->trailers = std::move(copies);
    return EXTPROC_OK;
  });
}

}  // namespace

void set_reply_function(extproc_host& table) { table.reply = &reply; }

const extproc_streamed_reply_api& streamed_reply_extension() {
  static constexpr extproc_streamed_reply_api kTable = {sizeof(extproc_streamed_reply_api), 0, &begin, &write,
                                                        &end};
  return kTable;
}

}  // namespace extprocd::engine
