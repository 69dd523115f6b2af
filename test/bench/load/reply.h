#pragma once

#include <cstdint>
#include <string_view>

namespace extprocd::bench {

/// The member of ProcessingResponse.response, by its field number. kNone: there is none.
enum class ReplyKind : uint8_t {
  kNone = 0,
  kRequestHeaders = 1,
  kResponseHeaders = 2,
  kRequestBody = 3,
  kResponseBody = 4,
  kRequestTrailers = 5,
  kResponseTrailers = 6,
  kImmediate = 7,
  kStreamedImmediate = 11
};

/// Its name in the contract.
std::string_view name_of(ReplyKind kind);

/// As much of a ProcessingResponse as is checked.
struct Reply {
  ReplyKind kind = ReplyKind::kNone;
  bool has_header_mutation = false;
  bool is_streamed = false;  ///< has a streamed_response
  std::string_view body;     ///< of the streamed_response; a view into the message
  bool end_of_stream = false;
};

/// False if the bytes are no ProcessingResponse.
bool read_reply(std::string_view message, Reply& reply);

}  // namespace extprocd::bench
