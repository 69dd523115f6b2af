#include "test/bench/poller.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <ctime>

#include <sys/epoll.h>

namespace extprocd::bench {
namespace {

constexpr int kEventsAtOnce = 64;

void control(int epoll, int operation, int fd, uint32_t events, Watcher* watcher) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = watcher;
  if (epoll_ctl(epoll, operation, fd, &event) == 0) return;
  std::perror("epoll_ctl");
  std::abort();
}

}  // namespace

Poller::Poller() : epoll_(epoll_create1(EPOLL_CLOEXEC)) {
  if (epoll_.get() >= 0) return;
  std::perror("epoll_create1");
  std::exit(1);
}

void Poller::add(int fd, Watcher& watcher) { control(epoll_.get(), EPOLL_CTL_ADD, fd, EPOLLIN, &watcher); }

void Poller::remove(int fd) { control(epoll_.get(), EPOLL_CTL_DEL, fd, 0, nullptr); }

void Poller::want_write(int fd, Watcher& watcher, bool wanted) {
  control(epoll_.get(), EPOLL_CTL_MOD, fd, wanted ? EPOLLIN | EPOLLOUT : EPOLLIN, &watcher);
}

void Poller::wait(std::optional<std::chrono::nanoseconds> timeout) {
  std::array<epoll_event, kEventsAtOnce> events{};
  timespec limit{};
  if (timeout) {
    const std::chrono::nanoseconds whole = std::max(*timeout, std::chrono::nanoseconds(0));
    limit.tv_sec = static_cast<time_t>(whole.count() / 1'000'000'000);
    limit.tv_nsec = static_cast<long>(whole.count() % 1'000'000'000);
  }
  const int count =
      epoll_pwait2(epoll_.get(), events.data(), kEventsAtOnce, timeout ? &limit : nullptr, nullptr);
  if (count < 0 && errno != EINTR) {
    std::perror("epoll_pwait2");
    std::abort();
  }
  for (int i = 0; i < count; ++i)
    static_cast<Watcher*>(events[static_cast<std::size_t>(i)].data.ptr)->on_ready();
}

}  // namespace extprocd::bench
