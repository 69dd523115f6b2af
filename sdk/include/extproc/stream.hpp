#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>

#include <extproc/action.hpp>
#include <extproc/body.hpp>
#include <extproc/facts.hpp>
#include <extproc/headers.hpp>
#include <extproc/host.hpp>
#include <extproc/phase.hpp>
#include <extproc/reply_stream.hpp>
#include <extproc/resume.hpp>
#include <extproc/store.hpp>
#include <extproc/value.hpp>
#include <extproc/waiting.hpp>

namespace extproc {
inline namespace v1 {

/// Base of a plugin: one object per [[plugin]] entry, shared by all streams.
///
/// A plugin class has a constructor (const extproc::Config&, extproc::Host&) and a nested struct Stream that
/// derives from extproc::Stream<itself>. It is created and destroyed by one thread, never together with
/// traffic; in between its streams use it from many threads at once: what changes after construction needs a
/// std::atomic or a mutex. An exception from the constructor makes loading fail with its text. The destructor
/// runs after the last stream has ended; threads that the plugin started must be joined when it returns.
class Plugin {
 public:
  Plugin(const Plugin&) = delete;
  Plugin& operator=(const Plugin&) = delete;

 protected:
  Plugin() = default;
  ~Plugin() = default;
};

/// The immediate response that another plugin of the chain decided on, before it is sent.
class LocalReply {
 public:
  /// Made by the SDK.
  LocalReply(const extproc_host* host, extproc_call* call) noexcept
      : headers_(host, call, EXTPROC_LOCAL_REPLY) {}

  /// The response's headers, which can be edited. Valid during the callback.
  HeaderMap& headers() noexcept { return headers_; }

  /// The response's HTTP status; 0 if the host does not say.
  std::uint32_t status() const noexcept {
    std::uint32_t number = 0;
    for (const char digit : headers_.first(":status").value_or("")) {
      if (digit < '0' || digit > '9' || number > 99) return 0;
      number = number * 10 + static_cast<std::uint32_t>(digit - '0');
    }
    return number;
  }

 private:
  HeaderMap headers_;
};

namespace detail {
struct StreamAccess;

/// What a Stream is made of; passed through inherited constructors.
template <typename P>
struct StreamOrigin {
  P* plugin;
  const Host* host;
  extproc_call* call;
  const extproc_stream_facts* facts;
};
}  // namespace detail

/// Base of P::Stream: one object per HTTP request and its response, made just before the plugin's first
/// callback on that stream and destroyed after on_end. `P` is the plugin class.
///
/// Override what you need; a phase that is not overridden never reaches the plugin. Callbacks of one stream
/// never run at the same time, but may run on different threads. An exception that leaves one makes the
/// plugin fail: extproc::Error with its code, all others with GrpcCode::kUnknown; what the callback had
/// changed is undone. A callback returns within microseconds: other streams wait for the same thread. One that
/// needs something which is not there yet waits for it (suspend, wait_for, or a coroutine with run); one that
/// cannot but block belongs to a plugin class with `static constexpr bool may_block = true;`, whose callbacks run
/// on the server's worker threads.
///
/// The functions that are not callbacks may be called only inside callbacks (and in the constructor). Those
/// whose twin begins with try_ throw Refused.
template <typename P>
class Stream {
 public:
  using Origin = detail::StreamOrigin<P>;

  /// Inherit it: `using extproc::Stream<MyPlugin>::Stream;`. An exception from a constructor makes the plugin
  /// fail; on_end is not called then.
  explicit Stream(const Origin& origin) noexcept
      : plugin_(origin.plugin), facts_(origin.facts), waiting_(origin.host, origin.call) {}
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  virtual ~Stream() = default;

  /// `end`: no body follows.
  virtual Action on_request_headers(HeaderMap& headers, EndOfStream end) {
    static_cast<void>(headers), static_cast<void>(end);
    return proceed();
  }
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverloaded-virtual"  // a Stream overrides one of two
  /// The body, or one piece of it, to look at. `end`: no more of it comes to this plugin.
  virtual Action on_request_body(const Body& body, EndOfStream end) {
    static_cast<void>(body), static_cast<void>(end);
    return proceed();
  }
  /// The same, to change it; the plugin class declares request_body_access, see BodyAccess.
  virtual Action on_request_body(Body& body, EndOfStream end) {
    return on_request_body(std::as_const(body), end);
  }
  virtual Action on_request_trailers(HeaderMap& trailers) {
    static_cast<void>(trailers);
    return proceed();
  }
  /// The status is the header ":status".
  virtual Action on_response_headers(HeaderMap& headers, EndOfStream end) {
    static_cast<void>(headers), static_cast<void>(end);
    return proceed();
  }
  virtual Action on_response_body(const Body& body, EndOfStream end) {
    static_cast<void>(body), static_cast<void>(end);
    return proceed();
  }
  virtual Action on_response_body(Body& body, EndOfStream end) {
    return on_response_body(std::as_const(body), end);
  }
#pragma GCC diagnostic pop
  virtual Action on_response_trailers(HeaderMap& trailers) {
    static_cast<void>(trailers);
    return proceed();
  }
  /// Another plugin replied, this one had begun: its headers can still be changed. The response phases never
  /// come.
  virtual void on_local_reply(LocalReply& reply) { static_cast<void>(reply); }
  /// While it waited, the stream or the time that it had was over. What was to be run, a coroutine too, has been
  /// destroyed just before. Headers can be read, nothing can be changed. Exceptions are logged.
  virtual void on_cancelled(CancelReason reason) { static_cast<void>(reason); }
  /// Once, last. Headers can be read, nothing can be changed. Exceptions are logged.
  virtual void on_end(const StreamEnd& end) { static_cast<void>(end); }

 protected:
  /// The plugin object, shared with all other streams.
  P& plugin() const noexcept { return *plugin_; }
  const Host& host() const noexcept { return waiting_.host(); }
  StreamFacts facts() const noexcept { return StreamFacts(facts_); }

  /// The header maps of this stream, to read. One that has not come (yet) looks empty.
  Headers request_headers() const noexcept { return map(EXTPROC_REQUEST_HEADERS); }
  Headers request_trailers() const noexcept { return map(EXTPROC_REQUEST_TRAILERS); }
  Headers response_headers() const noexcept { return map(EXTPROC_RESPONSE_HEADERS); }
  Headers response_trailers() const noexcept { return map(EXTPROC_RESPONSE_TRAILERS); }

  /// What the callback of this phase got, for those who go on in it later. current_headers: in a headers or
  /// trailers phase, its map; current_body: in a body phase, its body, which can be changed as far as the plugin
  /// class declares.
  HeaderMap current_headers() noexcept { return editable(phase_); }
  Body current_body() noexcept { return Body(host(), call(), flags_); }

  /// In a body callback: the headers of that direction, to change them while the data plane still has them.
  /// So it is after hold() in the headers phase, and in body modes in which the data plane keeps them
  /// anyhow; otherwise edits are refused with kTooLate.
  HeaderMap held_request_headers() noexcept { return editable(EXTPROC_REQUEST_HEADERS); }
  HeaderMap held_response_headers() noexcept { return editable(EXTPROC_RESPONSE_HEADERS); }

  /// An attribute that the data plane was configured to send ("xds.route_name"), as text: true or false,
  /// numbers in their shortest form, lists and structs as JSON. Valid until the end of the callback.
  std::optional<std::string_view> attribute(std::string_view name) const noexcept {
    const extproc_metadata_api* api = host().metadata_table();
    extproc_str value{};
    if (api == nullptr || api->attribute(call(), detail::to_abi(name), &value) != EXTPROC_OK)
      return std::nullopt;
    return detail::from_abi(value);
  }

  /// One key of the request's dynamic metadata, as text. Valid until the end of the callback.
  std::optional<std::string_view> metadata(std::string_view name_space, std::string_view key) const noexcept {
    const extproc_metadata_api* api = host().metadata_table();
    extproc_str value{};
    if (api == nullptr) return std::nullopt;
    if (api->metadata(call(), detail::to_abi(name_space), detail::to_abi(key), &value) != EXTPROC_OK) {
      return std::nullopt;
    }
    return detail::from_abi(value);
  }

  /// The same as values of their types. Nothing on a host that has only text (before extproc.metadata/2).
  std::optional<Value> attribute_value(std::string_view name) const noexcept {
    return ask_value([&](const extproc_metadata_api_2& api, const extproc_value** value) {
      return api.attribute(call(), detail::to_abi(name), value);
    });
  }
  /// Without a key the whole namespace, a struct.
  std::optional<Value> metadata_value(std::string_view name_space, std::string_view key = {}) const noexcept {
    return ask_value([&](const extproc_metadata_api_2& api, const extproc_value** value) {
      return api.metadata(call(), detail::to_abi(name_space), detail::to_abi(key), value);
    });
  }
  /// A namespace of the request's typed dynamic metadata.
  std::optional<TypedMetadata> typed_metadata(std::string_view name_space) const noexcept {
    const extproc_metadata_api_2* api = host().metadata_table_2();
    extproc_str type_url{};
    extproc_str message{};
    if (api == nullptr) return std::nullopt;
    if (api->typed_metadata(call(), detail::to_abi(name_space), &type_url, &message) != EXTPROC_OK) {
      return std::nullopt;
    }
    return TypedMetadata{detail::from_abi(type_url), detail::from_abi(message)};
  }

  /// Sets dynamic metadata, sent with the reply of this phase: a bool, a number, text in UTF-8, or Json{text}
  /// for any value. A later plugin wins per key. The data plane drops namespaces that it was not configured to
  /// receive. kInvalid: an empty name, what is not UTF-8 or no JSON (last_error() says where); kLimit: over 64
  /// KiB in one phase, JSON nested deeper than 30.
  template <typename T>
  void set_dynamic_metadata(std::string_view name_space, std::string_view key, const T& value) {
    check("set dynamic metadata", try_set_dynamic_metadata(name_space, key, value));
  }
  template <typename T>
  Status try_set_dynamic_metadata(std::string_view name_space, std::string_view key,
                                  const T& value) noexcept {
    if constexpr (std::is_same_v<T, Json>) {
      const extproc_metadata_api_2* api = host().metadata_table_2();
      if (api == nullptr) return Status::kUnsupported;
      return detail::to_status(
          api->set_json(call(), detail::to_abi(name_space), detail::to_abi(key), detail::to_abi(value.text)));
    } else {
      const extproc_metadata_api* api = host().metadata_table();
      if (api == nullptr) return Status::kUnsupported;
      const extproc_str where = detail::to_abi(name_space);
      if constexpr (std::is_same_v<T, bool>) {
        return detail::to_status(api->set_bool(call(), where, detail::to_abi(key), value ? 1 : 0));
      } else if constexpr (std::is_arithmetic_v<T>) {
        return detail::to_status(
            api->set_number(call(), where, detail::to_abi(key), static_cast<double>(value)));
      } else {
        return detail::to_status(
            api->set_string(call(), where, detail::to_abi(key), detail::to_abi(std::string_view(value))));
      }
    }
  }

  /// Sets typed dynamic metadata: an encoded protobuf message and its type's URL, one a namespace.
  void set_typed_dynamic_metadata(std::string_view name_space, std::string_view type_url,
                                  std::string_view message) {
    check("set typed dynamic metadata", try_set_typed_dynamic_metadata(name_space, type_url, message));
  }
  Status try_set_typed_dynamic_metadata(std::string_view name_space, std::string_view type_url,
                                        std::string_view message) noexcept {
    const extproc_metadata_api_2* api = host().metadata_table_2();
    if (api == nullptr) return Status::kUnsupported;
    return detail::to_status(api->set_typed(call(), detail::to_abi(name_space), detail::to_abi(type_url),
                                            detail::to_abi(message)));
  }

  /// Takes back what was set under a key since the last reply, by this plugin or an earlier one; without a key
  /// all of the namespace, typed too. Returns whether there was anything.
  bool remove_dynamic_metadata(std::string_view name_space, std::string_view key = {}) {
    const Status status = try_remove_dynamic_metadata(name_space, key);
    if (status != Status::kNotFound) check("remove dynamic metadata", status);
    return status == Status::kOk;
  }
  Status try_remove_dynamic_metadata(std::string_view name_space, std::string_view key = {}) noexcept {
    const extproc_metadata_api_2* api = host().metadata_table_2();
    if (api == nullptr) return Status::kUnsupported;
    return detail::to_status(api->remove(call(), detail::to_abi(name_space), detail::to_abi(key)));
  }

  /// The store that the plugins of this stream share.
  Store store() const noexcept { return Store(host(), call()); }

  /// In a headers phase: sends this body instead of the original one; nothing more of this direction comes to
  /// any plugin. kUnsupported where the data plane cannot (gRPC body mode).
  void replace_body(std::string_view body) { check("replace the body", try_replace_body(body)); }
  Status try_replace_body(std::string_view body) noexcept {
    return detail::to_status(host().table()->replace_body(call(), detail::to_abi(body)));
  }

  /// In on_request_headers, or in on_request_body while the headers are held: asks the data plane to choose
  /// the route anew, for the headers as they are after this phase. Envoy heeds it only together with a header
  /// change.
  void clear_route_cache() { check("clear the route cache", try_clear_route_cache()); }
  Status try_clear_route_cache() noexcept {
    return detail::to_status(host().table()->clear_route_cache(call()));
  }

  /// Begins a local reply in pieces, in on_request_headers; return what it gives. The body of `reply` is the
  /// first piece. kTooLate in other phases.
  ReplyStream begin_reply(const Reply& reply) {
    check("begin a reply", try_begin_reply(reply));
    return reply_stream();
  }
  Status try_begin_reply(const Reply& reply) {
    const extproc_streamed_reply_api* api = host().streamed_reply_table();
    return api == nullptr ? Status::kUnsupported : reply.give(api->begin, call());
  }
  /// The reply that has begun.
  ReplyStream reply_stream() noexcept { return ReplyStream(host(), call()); }

  /// Leaves phases out for the rest of this stream: skip(Phase::kResponseHeaders, Phase::kResponseBody). When
  /// no plugin wants what is left, the server ends the stream or asks the data plane to send less, where that
  /// loses nothing. What this plugin held of a body goes on. Also in the constructor of Stream.
  template <typename... Phases>
  void skip(Phase first, Phases... more) {
    check("skip phases", try_skip(first, more...));
  }
  template <typename... Phases>
  Status try_skip(Phase first, Phases... more) noexcept {
    static_assert((std::is_same_v<Phases, Phase> && ...), "skip takes phases: extproc::Phase::kResponseBody");
    const extproc_control_api* api = host().control_table();
    const std::uint32_t bits = (phase_bit(first) | ... | phase_bit(more));
    return api == nullptr ? Status::kUnsupported : detail::to_status(api->skip(call(), bits));
  }

  /// Asks the data plane for so much time, from now, to wait for the answer to the message at hand; at least
  /// one millisecond. kLimit the second time for one message, also by another plugin. kUnsupported where the
  /// data plane has no timer, or where the operator did not say (data_plane.max_message_timeout) that it
  /// allows so much. It goes out when this plugin waits or the callbacks for the message have returned: it does not help
  /// one that blocks.
  void extend_timeout(std::chrono::milliseconds time) {
    check("extend the timeout", try_extend_timeout(time));
  }
  Status try_extend_timeout(std::chrono::milliseconds time) noexcept {
    const extproc_control_api* api = host().control_table();
    if (api == nullptr) return Status::kUnsupported;
    const auto count = time.count() < 0 ? 0 : static_cast<std::uint64_t>(time.count());
    return detail::to_status(api->extend_timeout(call(), count));
  }

  /// Waits until it is resumed, by any thread: the callback gives the Resume away and returns wait(). The stream then
  /// stands still, in both directions, and the plugin gets no call for it but on_cancelled. What has been changed
  /// stays, but views end with the callback: what goes on reads headers and body anew. Once in a callback; in what
  /// goes on it may wait again. kUnsupported: in the constructor, on_local_reply and on_end, while a reply in pieces
  /// goes on, or on a server before contract 1.2.
  Resume suspend() { return waiting_.suspend(); }
  Status try_suspend(Resume& resume) { return waiting_.try_suspend(resume); }
  /// The same in one: `return suspend([&](extproc::Resume resume) { ... });`, see Resume. If `begin` throws, nothing
  /// waits.
  template <typename Begin>
  Action suspend(Begin&& begin) {
    static_assert(std::is_invocable_v<Begin&, Resume>,
                  "suspend takes a callable that gets an extproc::Resume");
    begin(suspend());
    return wait();
  }

  /// After suspend() in the same callback, once: goes on with what `then` returns, an Action, when so much time has
  /// passed and nobody has resumed. From here on the last Resume may go.
  template <typename Count, typename Period, typename Then>
  void resume_after(std::chrono::duration<Count, Period> time, Then&& then) {
    waiting_.resume_after(detail::to_nanoseconds(time), detail::continuation(std::forward<Then>(then)));
  }
  /// Waits for a time: `return wait_for(std::chrono::milliseconds(5), [this] { return extproc::proceed(); });`
  template <typename Count, typename Period, typename Then>
  Action wait_for(std::chrono::duration<Count, Period> time, Then&& then) {
    const Resume unused = suspend();
    resume_after(time, std::forward<Then>(then));
    return wait();
  }

  /// Runs a coroutine, see <extproc/coroutine.hpp>: `return run(check(user));`. If it ends without waiting, this is
  /// what it returned; otherwise the stream waits as often as it does.
  template <typename Coroutine>
  Action run(Coroutine coroutine) {
    return waiting_.run(make_routine(waiting_, std::move(coroutine)));
  }

  /// Why the last host call of this callback was refused. Valid until the next host call.
  std::string_view last_error() const noexcept {
    return detail::from_abi(host().table()->last_error(call()));
  }

 private:
  friend struct detail::StreamAccess;

  extproc_call* call() const noexcept { return waiting_.call(); }
  Headers map(std::uint32_t id) const noexcept { return Headers(host().table(), call(), id); }
  template <typename Ask>
  std::optional<Value> ask_value(Ask ask) const noexcept {
    const extproc_metadata_api_2* api = host().metadata_table_2();
    const extproc_value* value = nullptr;
    if (api == nullptr || ask(*api, &value) != EXTPROC_OK) return std::nullopt;
    return Value(api, value);
  }
  HeaderMap editable(std::uint32_t id) noexcept { return HeaderMap(host().table(), call(), id); }
  static constexpr std::uint32_t phase_bit(Phase phase) noexcept {
    return EXTPROC_PHASE_BIT(static_cast<std::uint32_t>(phase));
  }
  void check(std::string_view what, Status status) const {
    if (status != Status::kOk) detail::check(status, what, host().table(), call());
  }

  P* plugin_;
  const extproc_stream_facts* facts_;
  std::uint32_t phase_ = EXTPROC_REQUEST_HEADERS;
  std::uint32_t flags_ = 0;
  detail::Waiting waiting_;  // with the host, and the call of the callback that runs
};

}  // namespace v1
}  // namespace extproc
