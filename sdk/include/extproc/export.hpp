#pragma once

#include <cstdint>
#include <exception>
#include <iterator>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>

#include <extproc/body_declaration.hpp>
#include <extproc/config.hpp>
#include <extproc/stream.hpp>

#define EXTPROC_SDK_VERSION "0.1.0"

#if defined(__clang__)
#define EXTPROC_SDK_COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define EXTPROC_SDK_COMPILER "gcc " __VERSION__
#else
#define EXTPROC_SDK_COMPILER "an unknown compiler"
#endif

namespace extproc {
inline namespace v1 {
namespace detail {

struct StreamAccess {
  template <typename P>
  static void set_call(Stream<P>& stream, extproc_call* call) noexcept {
    stream.waiting_.set_call(call);
  }
  template <typename P>
  static void set_phase(Stream<P>& stream, std::uint32_t phase, std::uint32_t flags) noexcept {
    stream.phase_ = phase;
    stream.flags_ = flags;
  }
  template <typename P>
  static Waiting& waiting(Stream<P>& stream) noexcept {
    return stream.waiting_;
  }
};

/// Is P::Stream's member another one than that of the base, that is, overridden?
#define EXTPROC_DETAIL_OVERRIDES(member) (!std::is_same_v<decltype(&S::member), decltype(&Stream<P>::member)>)

/// Which phases a plugin wants, by what its Stream overrides.
template <typename P>
struct Overrides {
  using S = typename P::Stream;

  static constexpr bool kRequestHeaders = EXTPROC_DETAIL_OVERRIDES(on_request_headers);
  static constexpr bool kRequestBody = RequestBody<P>::kWanted;
  static constexpr bool kRequestTrailers = EXTPROC_DETAIL_OVERRIDES(on_request_trailers);
  static constexpr bool kResponseHeaders = EXTPROC_DETAIL_OVERRIDES(on_response_headers);
  static constexpr bool kResponseBody = ResponseBody<P>::kWanted;
  static constexpr bool kResponseTrailers = EXTPROC_DETAIL_OVERRIDES(on_response_trailers);
  static constexpr bool kLocalReply = EXTPROC_DETAIL_OVERRIDES(on_local_reply);

  static constexpr std::uint32_t bit(bool wanted, std::uint32_t phase) noexcept {
    return wanted ? EXTPROC_PHASE_BIT(phase) : 0U;
  }
  static constexpr std::uint32_t kPhases =
      bit(kRequestHeaders, EXTPROC_REQUEST_HEADERS) | bit(kRequestBody, EXTPROC_REQUEST_BODY) |
      bit(kRequestTrailers, EXTPROC_REQUEST_TRAILERS) | bit(kResponseHeaders, EXTPROC_RESPONSE_HEADERS) |
      bit(kResponseBody, EXTPROC_RESPONSE_BODY) | bit(kResponseTrailers, EXTPROC_RESPONSE_TRAILERS) |
      bit(kLocalReply, EXTPROC_LOCAL_REPLY);
};

#undef EXTPROC_DETAIL_OVERRIDES

/// The C entries of plugin P: from the C contract to P's methods, and from exceptions to errors.
template <typename P>
class Entries {
 public:
  static extproc_status create(const extproc_host* table, void** instance) noexcept {
    try {
      auto made = std::make_unique<Instance>(table);
      if (!made->reader.failed && !made->host.metric_failed()) {
        *instance = made.release();
        return EXTPROC_OK;
      }
      return EXTPROC_INVALID;  // the host has been told why
    } catch (const std::exception& exception) {
      table->create_error(table, to_abi(exception.what()));
      return EXTPROC_INVALID;
    } catch (...) {
      table->create_error(table, to_abi("exception of unknown type in the plugin's constructor"));
      return EXTPROC_INVALID;
    }
  }

  static void destroy(void* instance) noexcept {
    auto* made = static_cast<Instance*>(instance);
    const extproc_host* table = made->host.table();
    const std::shared_ptr<AsyncHost> async = made->host.async_host();
    try {
      delete made;
    } catch (...) {
      table->log(table, EXTPROC_LOG_ERROR, to_abi("exception in the plugin's destructor"));
    }
    async->close();  // somebody else's thread may hold a Resume still
  }

  static extproc_action stream_begin(void* instance, void* state, extproc_call* call,
                                     const extproc_stream_facts* facts) noexcept {
    auto* made = static_cast<Instance*>(instance);
    return guarded(made->host.table(), call, [&]() -> extproc_action {
      S* stream = ::new (state) S(typename Stream<P>::Origin{&made->plugin, &made->host, call, facts});
      StreamAccess::set_call<P>(*stream, nullptr);
      return EXTPROC_CONTINUE;
    });
  }

  static extproc_action on_phase(void* instance, void* state, extproc_call* call, std::uint32_t phase,
                                 std::uint32_t flags) noexcept {
    const Host& host = static_cast<Instance*>(instance)->host;
    S& stream = stream_in(state);
    return in_phase(host, stream, call, phase, flags, [&] { return run(stream, host, call, phase, flags); });
  }

  static extproc_action on_resumed(void* instance, void* state, extproc_call* call, std::uint32_t phase,
                                   std::uint32_t flags, std::uint64_t token) noexcept {
    const Host& host = static_cast<Instance*>(instance)->host;
    S& stream = stream_in(state);
    return in_phase(host, stream, call, phase, flags,
                    [&] { return StreamAccess::waiting<P>(stream).go_on(token).take(host.table(), call); });
  }

  static void on_cancelled(void* instance, void* state, extproc_call* call, std::uint32_t phase,
                           std::uint32_t reason) noexcept {
    const extproc_host* table = static_cast<Instance*>(instance)->host.table();
    S& stream = stream_in(state);
    StreamAccess::set_call<P>(stream, call);
    StreamAccess::set_phase<P>(stream, phase, 0);
    StreamAccess::waiting<P>(stream).end();
    Stream<P>& base = stream;  // so that an override may be private
    logged(table, "exception in on_cancelled", [&] { base.on_cancelled(static_cast<CancelReason>(reason)); });
    StreamAccess::set_call<P>(stream, nullptr);
  }

  static void stream_end(void* instance, void* state, extproc_call* call,
                         const extproc_stream_end* end) noexcept {
    const extproc_host* table = static_cast<Instance*>(instance)->host.table();
    S& stream = stream_in(state);
    StreamAccess::set_call<P>(stream, call);
    StreamAccess::waiting<P>(stream).end();
    logged(table, "exception in on_end", [&] { stream.on_end(StreamEnd(end)); });
    logged(table, "exception in the destructor of Stream", [&] { stream.~S(); });
  }

 private:
  using S = typename P::Stream;
  using Wanted = Overrides<P>;

  /// What create makes: the plugin and what it holds references to.
  struct Instance {
    explicit Instance(const extproc_host* table)
        : host(table), reader(make_reader(table)), plugin(root_of(reader), host) {
      reader.host = nullptr;  // Config is dead now
    }

    static ConfigReader make_reader(const extproc_host* table) noexcept {
      ConfigReader made;
      made.host = table;
      made.api = static_cast<const extproc_config_api*>(table->get_extension(table, EXTPROC_CONFIG_1));
      return made;
    }
    static Config root_of(ConfigReader& reader) {
      return Config(reader, reader.api == nullptr ? nullptr : reader.api->root(reader.host));
    }

    Host host;
    ConfigReader reader;
    P plugin;
  };

  static S& stream_in(void* state) noexcept { return *std::launder(static_cast<S*>(state)); }

  static extproc_action run(S& stream, const Host& host, extproc_call* call, std::uint32_t phase,
                            std::uint32_t flags) {
    const extproc_host* table = host.table();
    const EndOfStream end((flags & (EXTPROC_END_OF_STREAM | EXTPROC_END_OF_BODY)) != 0);
    Stream<P>& base = stream;  // so that an override may be private
    switch (phase) {
      case EXTPROC_REQUEST_HEADERS: {
        HeaderMap headers(table, call, phase);
        return base.on_request_headers(headers, end).take(table, call);
      }
      case EXTPROC_REQUEST_BODY: {
        Body body(host, call, flags);
        return base.on_request_body(body, end).take(table, call);
      }
      case EXTPROC_REQUEST_TRAILERS: {
        HeaderMap trailers(table, call, phase);
        return base.on_request_trailers(trailers).take(table, call);
      }
      case EXTPROC_RESPONSE_HEADERS: {
        HeaderMap headers(table, call, phase);
        return base.on_response_headers(headers, end).take(table, call);
      }
      case EXTPROC_RESPONSE_BODY: {
        Body body(host, call, flags);
        return base.on_response_body(body, end).take(table, call);
      }
      case EXTPROC_RESPONSE_TRAILERS: {
        HeaderMap trailers(table, call, phase);
        return base.on_response_trailers(trailers).take(table, call);
      }
      case EXTPROC_LOCAL_REPLY: {
        LocalReply reply(table, call);
        base.on_local_reply(reply);
        return EXTPROC_CONTINUE;
      }
      default:
        return EXTPROC_CONTINUE;  // a phase of a newer host
    }
  }

  /// What may wait when it has returned: on_phase and on_resumed.
  template <typename Callback>
  static extproc_action in_phase(const Host& host, S& stream, extproc_call* call, std::uint32_t phase,
                                 std::uint32_t flags, Callback callback) noexcept {
    StreamAccess::set_call<P>(stream, call);
    StreamAccess::set_phase<P>(stream, phase, flags);
    Waiting& waiting = StreamAccess::waiting<P>(stream);
    const extproc_action action = guarded(host.table(), call, [&] {
      const extproc_action returned = callback();
      if (returned == EXTPROC_SUSPEND && !waiting.suspended())
        throw Error(GrpcCode::kInternal, "wait() was returned without suspend()");
      return returned;
    });
    if (action != EXTPROC_SUSPEND) waiting.end();
    StreamAccess::set_call<P>(stream, nullptr);
    return action;
  }

  template <typename Callback>
  static extproc_action guarded(const extproc_host* table, extproc_call* call, Callback callback) noexcept {
    try {
      return callback();
    } catch (const Error& error) {
      table->fail(call, static_cast<std::uint32_t>(error.code()), to_abi(error.what()));
    } catch (const std::exception& exception) {
      table->fail(call, static_cast<std::uint32_t>(GrpcCode::kUnknown), to_abi(exception.what()));
    } catch (...) {
      table->fail(call, static_cast<std::uint32_t>(GrpcCode::kUnknown), to_abi("exception of unknown type"));
    }
    return EXTPROC_FAIL;
  }

  template <typename Callback>
  static void logged(const extproc_host* table, std::string_view place, Callback callback) noexcept {
    try {
      try {
        callback();
      } catch (const std::exception& exception) {
        const std::string text = std::string(place) + ": " + exception.what();
        table->log(table, EXTPROC_LOG_ERROR, to_abi(text));
      }
    } catch (...) {
      table->log(table, EXTPROC_LOG_ERROR, to_abi(place));
    }
  }
};

/// The extensions that every plugin of this SDK needs: without its configuration none can work.
inline constexpr const char* kRequiredExtensions[] = {EXTPROC_CONFIG_1, nullptr};
/// The same for one that changes bodies.
inline constexpr const char* kRequiredToEdit[] = {EXTPROC_CONFIG_1, EXTPROC_BODY_1, nullptr};

inline constexpr char kBuildInfo[] = "extproc SDK " EXTPROC_SDK_VERSION ", " EXTPROC_SDK_COMPILER;

/// Parts of lower-case letters, digits, '-' and '_', joined by '.', beginning with a letter, at most 64
/// bytes.
constexpr bool is_id(std::string_view id) noexcept {
  if (id.empty() || id.size() > 64 || id[0] < 'a' || id[0] > 'z') return false;
  char before = '.';
  for (const char c : id) {
    const bool in_part = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    if (!in_part && (c != '.' || before == '.')) return false;
    before = c;
  }
  return before != '.';
}

/// P::attributes, where there is one: `static constexpr const char* attributes[] = {"source.address", nullptr};`
template <typename P, typename = void>
struct DeclaredAttributes {
  static constexpr const char* const* kNames = nullptr;
};
template <typename P>
struct DeclaredAttributes<P, std::void_t<decltype(P::attributes[0])>> {
  static constexpr std::size_t kCount = std::size(P::attributes);
  static_assert(P::attributes[kCount - 1] == nullptr, "the plugin's `attributes` must end with nullptr");
  static constexpr const char* const* kNames = P::attributes;
};

/// P::may_block, where there is one: `static constexpr bool may_block = true;`
template <typename P, typename = void>
struct DeclaredMayBlock {
  static constexpr bool kValue = false;
};
template <typename P>
struct DeclaredMayBlock<P, std::void_t<decltype(P::may_block)>> {
  static_assert(std::is_same_v<decltype(P::may_block), const bool>,
                "the plugin's may_block must be a static constexpr bool");
  static constexpr bool kValue = P::may_block;
};

template <typename P>
constexpr extproc_plugin describe(const char* id, const char* version) noexcept {
  static_assert(std::is_base_of_v<Plugin, P>, "the plugin must derive from extproc::Plugin");
  static_assert(std::is_base_of_v<Stream<P>, typename P::Stream>,
                "the plugin's Stream must derive from extproc::Stream<the plugin>");
  static_assert(sizeof(typename P::Stream) <= std::size_t{64} * 1024, "a Stream may take at most 64 KiB");
  static_assert(alignof(typename P::Stream) <= 64, "a Stream may be aligned to at most 64 bytes");
  using Request = RequestBody<P>;
  using Response = ResponseBody<P>;
  constexpr bool kEdits = Request::kEdits || Response::kEdits;
  extproc_plugin made{};
  made.struct_size = sizeof(extproc_plugin);
  made.abi_major = EXTPROC_ABI_MAJOR;
  // The lowest host that will do, not the newest that is known. An older one would have its own threads blocked;
  // waiting is another matter, it asks before it waits.
  constexpr bool kMayBlock = DeclaredMayBlock<P>::kValue;
  constexpr bool kBodies = kEdits || Request::kTypes != nullptr || Response::kTypes != nullptr;
  made.abi_minor = kMayBlock ? 2 : kBodies ? 1 : 0;
  made.id = id;
  made.version = version;
  made.build_info = kBuildInfo;
  made.required_extensions = kEdits ? kRequiredToEdit : kRequiredExtensions;
  made.phases = Overrides<P>::kPhases;
  made.request_body_access = Request::kAccess;
  made.response_body_access = Response::kAccess;
  made.stream_state_size = sizeof(typename P::Stream);
  made.stream_state_align = alignof(typename P::Stream);
  made.create = &Entries<P>::create;
  made.destroy = &Entries<P>::destroy;
  made.stream_begin = &Entries<P>::stream_begin;
  made.on_phase = &Entries<P>::on_phase;
  made.stream_end = &Entries<P>::stream_end;
  made.attributes = DeclaredAttributes<P>::kNames;
  made.request_body_types = Request::kTypes;
  made.response_body_types = Response::kTypes;
  made.may_block = kMayBlock ? 1 : 0;
  made.on_resumed = &Entries<P>::on_resumed;
  made.on_cancelled = &Entries<P>::on_cancelled;
  return made;
}

}  // namespace detail
}  // namespace v1
}  // namespace extproc

/// Makes a module of a plugin class. Once per shared object, outside of any namespace.
///
/// `id` names the kind of plugin, in metrics too: "example.tenant-header"; lower-case letters, digits, '-'
/// and '_' in parts joined by '.', beginning with a letter, at most 64 bytes. `version` is the plugin's own.
#define EXTPROC_EXPORT_PLUGIN(PluginClass, id_text, version_text)                                         \
  extern "C" __attribute__((visibility("default"))) const extproc_plugin* extproc_plugin_entry_v1(void) { \
    static_assert(::extproc::detail::is_id(id_text), "not a plugin id: see EXTPROC_EXPORT_PLUGIN");       \
    static constexpr extproc_plugin kDescriptor =                                                         \
        ::extproc::detail::describe<PluginClass>(id_text, version_text);                                  \
    return &kDescriptor;                                                                                  \
  }
