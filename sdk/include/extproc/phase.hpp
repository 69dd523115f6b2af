#pragma once

#include <cstdint>

#include <extproc/abi.h>

namespace extproc {
inline namespace v1 {

/// A phase of a stream, for Stream::skip.
enum class Phase : std::uint32_t {
  kRequestHeaders = EXTPROC_REQUEST_HEADERS,
  kRequestBody = EXTPROC_REQUEST_BODY,
  kRequestTrailers = EXTPROC_REQUEST_TRAILERS,
  kResponseHeaders = EXTPROC_RESPONSE_HEADERS,
  kResponseBody = EXTPROC_RESPONSE_BODY,
  kResponseTrailers = EXTPROC_RESPONSE_TRAILERS,
};

}  // namespace v1
}  // namespace extproc
