#include "core/admin/admin_server.h"

#include <chrono>
#include <exception>
#include <thread>
#include <utility>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include "core/config/address.h"
#include "core/telemetry/log.h"

namespace extprocd::admin {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;
using Tcp = asio::ip::tcp;

constexpr std::chrono::seconds kTimeout{10};
constexpr std::size_t kMaxHeader = std::size_t{8} * 1024;
constexpr std::size_t kMaxBody = 1024;
constexpr std::size_t kMaxConnections = 100;

// Before connections are accepted again when that failed.
constexpr std::chrono::milliseconds kPause{50};

using Request = http::request<http::string_body>;
using Response = http::response<http::string_body>;

Response text_response(const Request& request, http::status status, std::string body) {
  Response response(status, request.version());
  response.set(http::field::server, "extprocd");
  response.set(http::field::content_type, "text/plain; charset=utf-8");
  response.keep_alive(request.keep_alive());
  response.body() = std::move(body);
  return response;
}

Response answer(const Request& request, const Handlers& handlers) {
  if (request.method() != http::verb::get && request.method() != http::verb::head) {
    Response response = text_response(request, http::status::method_not_allowed, "only GET and HEAD\n");
    response.set(http::field::allow, "GET, HEAD");
    return response;
  }
  const auto target = request.target();
  const auto path = target.substr(0, target.find('?'));
  if (path == "/metrics") {
    Response response = text_response(request, http::status::ok, handlers.metrics());
    response.set(http::field::content_type, "text/plain; version=0.0.4; charset=utf-8");
    return response;
  }
  if (path == "/healthz") return text_response(request, http::status::ok, "ok\n");
  if (path == "/readyz") {
    return handlers.ready() ? text_response(request, http::status::ok, "ready\n")
                            : text_response(request, http::status::service_unavailable, "not ready\n");
  }
  if (path == "/")
    return text_response(request, http::status::ok, "extprocd\n\n/metrics\n/healthz\n/readyz\n");
  return text_response(request, http::status::not_found, "not here; try /metrics, /healthz or /readyz\n");
}

/// One connection; keeps itself alive while something is under way on it.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Tcp::socket socket, const Handlers& handlers, std::size_t& open)
      : stream_(std::move(socket)), handlers_(handlers), open_(open) {
    ++open_;
  }
  ~Connection() { --open_; }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void read() {
    parser_.emplace();
    parser_->header_limit(kMaxHeader);
    parser_->body_limit(kMaxBody);
    stream_.expires_after(kTimeout);
    http::async_read(stream_, buffer_, *parser_, [self = shared_from_this()](error_code error, std::size_t) {
      if (!error) self->respond();
      // Garbage, a request that is too large, a client that left or was too slow: the connection just closes.
    });
  }

 private:
  void respond() {
    const Request& request = parser_->get();
    try {
      response_ = answer(request, handlers_);
    } catch (const std::exception& exception) {
      telemetry::log(telemetry::Level::kError, "admin", exception.what());
      response_ = text_response(request, http::status::internal_server_error, "failed; the log says why\n");
    }
    response_.prepare_payload();
    const bool head = request.method() == http::verb::head;
    serializer_.emplace(response_);
    serializer_->split(head);
    stream_.expires_after(kTimeout);
    const auto written = [self = shared_from_this()](error_code error, std::size_t) {
      if (!error && self->response_.keep_alive()) self->read();
    };
    if (head) {
      http::async_write_header(stream_, *serializer_, written);
    } else {
      http::async_write(stream_, *serializer_, written);
    }
  }

  beast::tcp_stream stream_;
  const Handlers& handlers_;
  std::size_t& open_;
  beast::flat_buffer buffer_{kMaxHeader + kMaxBody};
  std::optional<http::request_parser<http::string_body>> parser_;
  Response response_;
  std::optional<http::response_serializer<http::string_body>> serializer_;
};

}  // namespace

struct AdminServer::State {
  explicit State(Handlers all) : handlers(std::move(all)) {}

  void accept() {
    acceptor.async_accept([this](error_code error, Tcp::socket socket) {
      if (error == asio::error::operation_aborted) return;
      if (error) {  // out of file descriptors: at once again would be without end
        pause.expires_after(kPause);
        pause.async_wait([this](error_code cancelled) {
          if (!cancelled) accept();
        });
        return;
      }
      // Above the limit the socket closes at once: an operator's tools open a handful.
      if (open < kMaxConnections) {
        std::make_shared<Connection>(std::move(socket), handlers, open)->read();
      }
      accept();
    });
  }

  Handlers handlers;
  std::size_t open = 0;  // connections; outlives them, which live in the io_context
  asio::io_context io{1};
  Tcp::acceptor acceptor{io};
  asio::steady_timer pause{io};
  std::string address;
  std::thread thread;
};

absl::StatusOr<std::unique_ptr<AdminServer>> AdminServer::start(const std::string& address,
                                                                Handlers handlers) {
  auto parsed = config::parse_address(address);
  if (!parsed.ok()) return parsed.status();
  auto state = std::make_unique<State>(std::move(handlers));
  try {
    const auto found = Tcp::resolver(state->io).resolve(
        parsed->host, std::to_string(parsed->port), Tcp::resolver::passive | Tcp::resolver::numeric_service);
    const Tcp::endpoint endpoint = found.begin()->endpoint();
    state->acceptor.open(endpoint.protocol());
    state->acceptor.set_option(Tcp::acceptor::reuse_address(true));
    state->acceptor.bind(endpoint);
    state->acceptor.listen();
    parsed->port = state->acceptor.local_endpoint().port();
  } catch (const std::exception& exception) {
    return absl::UnavailableError("cannot listen on " + parsed->to_string() + ": " + exception.what());
  }
  state->address = parsed->to_string();
  state->accept();
  state->thread = std::thread([&io = state->io] { io.run(); });
  return std::unique_ptr<AdminServer>(new AdminServer(std::move(state)));
}

AdminServer::AdminServer(std::unique_ptr<State> state) : state_(std::move(state)) {}

AdminServer::~AdminServer() {
  state_->io.stop();
  state_->thread.join();
}

const std::string& AdminServer::address() const { return state_->address; }

}  // namespace extprocd::admin
