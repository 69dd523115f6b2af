// Writes a line about each request to a file; the request goes on when it is on the disk.
#include <cerrno>
#include <cstring>
#include <string>

#include <extproc/plugin.hpp>
#include <fcntl.h>
#include <unistd.h>

class AuditLog : public extproc::Plugin {
 public:
  static constexpr bool may_block = true;  // callbacks run on threads of server.workers

  AuditLog(const extproc::Config& config, extproc::Host&)
      : file_(
            ::open(config.required_string("file").c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640)) {
    if (file_ < 0) config.error("file", std::string("it cannot be opened: ") + std::strerror(errno));
  }
  ~AuditLog() { ::close(file_); }

  struct Stream : extproc::Stream<AuditLog> {
    using extproc::Stream<AuditLog>::Stream;

    extproc::Action on_request_headers(extproc::HeaderMap& headers, extproc::EndOfStream) override {
      std::string line(headers.first(":method").value_or("?"));
      line.append(" ").append(headers.first(":path").value_or("?")).append("\n");
      plugin().write(line);
      return extproc::proceed();
    }
  };

 private:
  void write(const std::string& line) const {
    const ssize_t written = ::write(file_, line.data(), line.size());  // with O_APPEND: lines do not mix
    if (written != static_cast<ssize_t>(line.size()) || ::fdatasync(file_) != 0)
      throw extproc::Error(extproc::GrpcCode::kUnavailable,
                           std::string("audit log: ") + std::strerror(errno));
  }

  const int file_;
};

EXTPROC_EXPORT_PLUGIN(AuditLog, "example.audit-log", "1.0.0")
