#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

#include <extproc/abi.h>

namespace extproc {
inline namespace v1 {

/// What a host call answers. Anything but kOk means that nothing was changed.
enum class Status : std::uint32_t {
  kOk = EXTPROC_OK,
  kNotFound = EXTPROC_NOT_FOUND,  ///< no such header, key or attribute; or that header map has not come (yet)
  kInvalid = EXTPROC_INVALID,     ///< bytes that are not allowed in a name or value, a number out of range
  kForbidden = EXTPROC_FORBIDDEN,      ///< the data plane, or the operator's mutation rules, would refuse it
  kTooLate = EXTPROC_TOO_LATE,         ///< the phase in which this could be changed is over
  kLimit = EXTPROC_LIMIT,              ///< over a limit of entries or bytes
  kUnsupported = EXTPROC_UNSUPPORTED,  ///< this data plane, body mode, phase or host cannot do it
};

/// The status in words: "forbidden". [any-thread], never throws; "unknown status" for numbers of a newer
/// host.
constexpr std::string_view to_string(Status status) noexcept {
  switch (status) {
    case Status::kOk:
      return "ok";
    case Status::kNotFound:
      return "not found";
    case Status::kInvalid:
      return "invalid";
    case Status::kForbidden:
      return "forbidden";
    case Status::kTooLate:
      return "too late";
    case Status::kLimit:
      return "over a limit";
    case Status::kUnsupported:
      return "unsupported";
  }
  return "unknown status";
}

/// gRPC status codes, for fail(), Error and the gRPC status of a reply.
enum class GrpcCode : std::uint32_t {
  kOk = 0,
  kCancelled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kDataLoss = 15,
  kUnauthenticated = 16,
};

/// Thrown by calls that the host refused; the calls whose name begins with try_ return the Status instead.
/// Left uncaught in a callback, it makes the plugin fail with GrpcCode::kUnknown and what().
class Refused : public std::runtime_error {
 public:
  /// `call` is what was tried ("set 'host'"), `reason` the host's words.
  Refused(Status status, std::string_view call, std::string_view reason)
      : std::runtime_error(text(status, call, reason)), status_(status) {}

  Status status() const noexcept { return status_; }

 private:
  static std::string text(Status status, std::string_view call, std::string_view reason) {
    std::string all(call);
    all.append(": ").append(to_string(status));
    if (!reason.empty()) all.append(": ").append(reason);
    return all;
  }

  Status status_;
};

/// Throw it in a callback to fail with a gRPC code of your choice. In the plugin's constructor only the text
/// counts.
class Error : public std::runtime_error {
 public:
  Error(GrpcCode code, const std::string& text) : std::runtime_error(text), code_(code) {}

  GrpcCode code() const noexcept { return code_; }

 private:
  GrpcCode code_;
};

namespace detail {

inline extproc_str to_abi(std::string_view text) noexcept { return {text.data(), text.size()}; }

/// A null pointer becomes an empty view, so that std::string can be made of every result.
inline std::string_view from_abi(extproc_str text) noexcept {
  return text.data == nullptr ? std::string_view() : std::string_view(text.data, text.size);
}

inline Status to_status(extproc_status status) noexcept { return static_cast<Status>(status); }

/// Throws Refused, with the host's reason, unless `status` is kOk.
inline void check(Status status, std::string_view call_name, const extproc_host* host, extproc_call* call) {
  if (status != Status::kOk) throw Refused(status, call_name, from_abi(host->last_error(call)));
}

/// A host that lacks what a newer contract has.
inline Refused too_old(std::string_view call_name, const extproc_host* host) {
  return {Status::kUnsupported, call_name,
          "this server is too old, it speaks contract 1." + std::to_string(host->abi_minor)};
}

}  // namespace detail

}  // namespace v1
}  // namespace extproc
