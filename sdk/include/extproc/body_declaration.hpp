#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <type_traits>

#include <extproc/stream.hpp>

namespace extproc {
inline namespace v1 {
namespace detail {

/// The class that declares the body callback which takes a BodyRef (Body& or const Body&); never defined.
template <typename BodyRef, typename Class>
Class* declared_in(Action (Class::*callback)(BodyRef, EndOfStream));

/// What P declares for the body of one direction, and which of the two callbacks its Stream overrides. A callback
/// that Stream hides by overriding the other one is not seen.
#define EXTPROC_DETAIL_BODY(Name, callback, access, types)                                                  \
  template <typename P>                                                                                     \
  struct Name {                                                                                             \
    using S = typename P::Stream;                                                                           \
    template <typename BodyRef, typename = void>                                                            \
    struct Callback {                                                                                       \
      static constexpr bool kSeen = false, kOverridden = false;                                             \
    };                                                                                                      \
    template <typename BodyRef>                                                                             \
    struct Callback<BodyRef, std::void_t<decltype(declared_in<BodyRef>(&S::callback))>> {                   \
      static constexpr bool kSeen = true;                                                                   \
      static constexpr bool kOverridden =                                                                   \
          !std::is_same_v<decltype(declared_in<BodyRef>(&S::callback)), Stream<P>*>;                        \
    };                                                                                                      \
    static constexpr bool kLooks = Callback<const Body&>::kOverridden;                                      \
    static constexpr bool kChanges = Callback<Body&>::kOverridden;                                          \
    static constexpr bool kWanted = kLooks || kChanges;                                                     \
    static_assert(Callback<const Body&>::kSeen || Callback<Body&>::kSeen, #callback                         \
                  " must be public and take (extproc::Body&, extproc::EndOfStream) to change the "          \
                  "body, or (const extproc::Body&, extproc::EndOfStream) to look at it");                   \
    static_assert(!(kLooks && kChanges), #callback " is there twice, for Body& and const Body&: keep one"); \
                                                                                                            \
    template <typename Q, typename = void>                                                                  \
    struct Access {                                                                                         \
      static constexpr std::uint32_t kValue = kWanted ? EXTPROC_ACCESS_OBSERVE : EXTPROC_ACCESS_NONE;       \
    };                                                                                                      \
    template <typename Q>                                                                                   \
    struct Access<Q, std::void_t<decltype(Q::access)>> {                                                    \
      static_assert(std::is_same_v<decltype(Q::access), const BodyAccess>,                                  \
                    #access " must be a static constexpr extproc::BodyAccess");                             \
      static_assert(kWanted, #access " is declared, but Stream does not override " #callback);              \
      static constexpr std::uint32_t kValue = static_cast<std::uint32_t>(Q::access);                        \
    };                                                                                                      \
    static constexpr std::uint32_t kAccess = Access<P>::kValue;                                             \
    static constexpr bool kEdits = kAccess > EXTPROC_ACCESS_OBSERVE;                                        \
    static_assert(!kChanges || kEdits, #callback                                                            \
                  " takes Body& to change the body: declare how in the plugin class, `static "              \
                  "constexpr extproc::BodyAccess " #access                                                  \
                  " = extproc::BodyAccess::kEditChunk;` "                                                   \
                  "(or kWhole, kStream), or take const Body& to look at it only");                          \
                                                                                                            \
    template <typename Q, typename = void>                                                                  \
    struct Types {                                                                                          \
      static constexpr const char* const* kNames = nullptr;                                                 \
    };                                                                                                      \
    template <typename Q>                                                                                   \
    struct Types<Q, std::void_t<decltype(Q::types[0])>> {                                                   \
      static constexpr std::size_t kCount = std::size(Q::types);                                            \
      static_assert(Q::types[kCount - 1] == nullptr, "the plugin's `" #types "` must end with nullptr");    \
      static_assert(kCount > 1 && Q::types[0] != nullptr,                                                   \
                    "the plugin's `" #types "` names no content type");                                     \
      static_assert(kWanted, #types " is declared, but Stream does not override " #callback);               \
      static constexpr const char* const* kNames = Q::types;                                                \
    };                                                                                                      \
    static constexpr const char* const* kTypes = Types<P>::kNames;                                          \
  }

EXTPROC_DETAIL_BODY(RequestBody, on_request_body, request_body_access, request_body_types);
EXTPROC_DETAIL_BODY(ResponseBody, on_response_body, response_body_access, response_body_types);

#undef EXTPROC_DETAIL_BODY

}  // namespace detail
}  // namespace v1
}  // namespace extproc
