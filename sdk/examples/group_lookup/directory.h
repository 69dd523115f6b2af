// Asks a directory over UDP which group a user is in: "<number> <user>". It answers "<number> <group>", some time later.
#pragma once

#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

class Directory {
 public:
  using Answer = std::function<void(std::string group)>;

  Directory(const std::string& address, std::uint16_t port)
      : socket_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    const bool valid = ::inet_pton(AF_INET, address.c_str(), &to.sin_addr) == 1;
    if (!valid || ::connect(socket_, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
      ::close(socket_);
      throw std::runtime_error("no way to the directory at " + address);
    }
    thread_ = std::thread([this] { listen(); });
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  ~Directory() {
    stopping_ = true;
    ::shutdown(socket_, SHUT_RDWR);  // wakes the thread
    thread_.join();
    ::close(socket_);
  }

  // `answer` is called on the thread of this class; never, if the directory does not answer.
  void look_up(const std::string& user, Answer answer) {
    std::string question;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      question = std::to_string(++last_) + " " + user;
      asked_.emplace(last_, std::move(answer));
      if (asked_.size() > kMost) asked_.erase(asked_.begin());  // given up
    }
    if (::send(socket_, question.data(), question.size(), MSG_NOSIGNAL) < 0)
      throw std::runtime_error(std::string("the directory cannot be asked: ") + std::strerror(errno));
  }

 private:
  static constexpr std::size_t kMost = 10'000;

  void listen() {
    char buffer[512];
    while (!stopping_) {
      const ssize_t size = ::recv(socket_, buffer, sizeof buffer, 0);
      if (size > 0) answered({buffer, static_cast<std::size_t>(size)});
    }
  }

  void answered(std::string_view text) {
    std::uint64_t number = 0;
    const char* end = std::from_chars(text.data(), text.data() + text.size(), number).ptr;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    if (text.empty() || text[0] != ' ') return;
    Answer answer;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      const auto found = asked_.find(number);
      if (found == asked_.end()) return;
      answer = std::move(found->second);
      asked_.erase(found);
    }
    answer(std::string(text.substr(1)));
  }

  const int socket_;
  std::atomic<bool> stopping_ = false;
  std::mutex mutex_;
  std::uint64_t last_ = 0;
  std::map<std::uint64_t, Answer> asked_;
  std::thread thread_;
};
