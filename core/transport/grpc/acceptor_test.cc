#include "core/transport/grpc/acceptor.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

namespace extprocd::transport {
namespace {

class AcceptorTest : public testing::Test {
 protected:
  void start(std::size_t max_connections, uint64_t bytes_of_nothing = 1 << 30) {
    auto listener = Listener::open(*config::parse_address("127.0.0.1:0"));
    ASSERT_TRUE(listener.ok()) << listener.status();
    port_ = listener->address().port;
    std::vector<Listener> listeners;
    listeners.push_back(*std::move(listener));
    auto acceptor = Acceptor::start(std::move(listeners), {max_connections, bytes_of_nothing}, traffic_,
                                    {.accepted = [this](int, int connection) { accepted(connection); },
                                     .refused = [this] { count(refused_); },
                                     .cut_off = [this] { count(cut_off_); }});
    ASSERT_TRUE(acceptor.ok()) << acceptor.status();
    acceptor_ = *std::move(acceptor);
  }

  static Descriptor client() { return Descriptor(socket(AF_INET, SOCK_STREAM, 0)); }
  void connect_to(const Descriptor& client) const {
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_port = htons(port_);
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(connect(client.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name), 0);
  }

  void accepted(int connection) {
    const std::lock_guard lock(mutex_);
    accepted_.emplace_back(connection);
    changed_.notify_all();
  }
  void count(int& counter) {
    const std::lock_guard lock(mutex_);
    ++counter;
    changed_.notify_all();
  }
  template <typename Condition>
  bool wait_until(Condition condition, std::chrono::milliseconds time = std::chrono::seconds(20)) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, time, condition);
  }

  Traffic traffic_;
  std::unique_ptr<Acceptor> acceptor_;
  uint16_t port_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Descriptor> accepted_;
  int refused_ = 0;
  int cut_off_ = 0;
};

TEST_F(AcceptorTest, over_the_limit_connections_are_refused_until_one_is_closed) {
  start(2);
  std::vector<Descriptor> clients;
  for (int i = 0; i < 3; ++i) connect_to(clients.emplace_back(client()));
  ASSERT_TRUE(wait_until([this] { return accepted_.size() == 2 && refused_ == 1; }));
  // Also after a time when it looks which are still open.
  EXPECT_FALSE(wait_until([this] { return refused_ > 1; }, std::chrono::milliseconds(50)));
  connect_to(clients.emplace_back(client()));
  ASSERT_TRUE(wait_until([this] { return accepted_.size() == 2 && refused_ == 2; }));
  {
    const std::lock_guard lock(mutex_);
    accepted_.pop_back();
  }
  do {
    connect_to(clients.emplace_back(client()));
  } while (!wait_until([this] { return accepted_.size() == 2; }, std::chrono::milliseconds(50)));
}

TEST_F(AcceptorTest, sends_small_replies_at_once) {
  start(1);
  const Descriptor peer = client();
  connect_to(peer);
  ASSERT_TRUE(wait_until([this] { return accepted_.size() == 1; }));
  int no_delay = 0;
  socklen_t size = sizeof no_delay;
  ASSERT_EQ(getsockopt(accepted_[0].get(), IPPROTO_TCP, TCP_NODELAY, &no_delay, &size), 0);
  EXPECT_NE(no_delay, 0);
}

TEST_F(AcceptorTest, goes_on_after_the_process_was_out_of_files) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP()
      << "the sanitizer looks at objects through a pipe, and takes the lack of one for a broken object";
#endif
  start(1000);
  std::vector<Descriptor> clients;
  clients.reserve(20);
  for (int i = 0; i < 20; ++i) clients.push_back(client());
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit few = before;
  few.rlim_cur = static_cast<rlim_t>(clients.back().get()) + 3;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
  for (const Descriptor& one : clients) connect_to(one);
  EXPECT_TRUE(wait_until([this] { return accepted_.size() == 2; }));
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_TRUE(wait_until([this] { return accepted_.size() == 20; }));
}

TEST_F(AcceptorTest, a_reset_connection_that_stays_open_gets_another_event) {
  start(10);
  {
    const Descriptor peer = client();
    connect_to(peer);
    ASSERT_TRUE(wait_until([this] { return accepted_.size() == 1; }));
    const linger at_once = {1, 0};
    setsockopt(peer.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  }
  const Descriptor events(epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  ASSERT_EQ(epoll_ctl(events.get(), EPOLL_CTL_ADD, accepted_[0].get(), &event), 0);
  ASSERT_EQ(epoll_wait(events.get(), &event, 1, 20000), 1);
  ASSERT_NE(event.events & EPOLLHUP, 0U);
  EXPECT_EQ(epoll_wait(events.get(), &event, 1, 20000), 1);
}

TEST_F(AcceptorTest, a_connection_that_sends_much_and_means_nothing_is_cut_off) {
  start(10, 100'000);
  const Descriptor useful = client();
  const Descriptor useless = client();
  connect_to(useful);
  ASSERT_TRUE(wait_until([this] { return accepted_.size() == 1; }));
  connect_to(useless);
  ASSERT_TRUE(wait_until([this] { return accepted_.size() == 2; }));
  sockaddr_in name{};
  socklen_t size = sizeof name;
  ASSERT_EQ(getsockname(useful.get(), reinterpret_cast<sockaddr*>(&name), &size), 0);
  const auto events = traffic_.find("ipv4:127.0.0.1:" + std::to_string(ntohs(name.sin_port)));
  ASSERT_NE(events, nullptr);
  const std::string part(10'000, 'x');
  std::string sink(part.size(), ' ');
  for (int i = 0; i < 1000 && !wait_until([this] { return cut_off_ > 0; }, std::chrono::milliseconds(20));
       ++i) {
    const std::lock_guard lock(mutex_);
    ASSERT_EQ(send(useful.get(), part.data(), part.size(), MSG_NOSIGNAL), static_cast<ssize_t>(part.size()));
    ASSERT_EQ(recv(accepted_[0].get(), sink.data(), sink.size(), MSG_WAITALL),
              static_cast<ssize_t>(sink.size()));
    send(useless.get(), part.data(), part.size(), MSG_NOSIGNAL);
    recv(accepted_[1].get(), sink.data(), sink.size(), MSG_WAITALL);
    ++events->count;
  }
  char byte = 0;
  EXPECT_EQ(cut_off_, 1);
  EXPECT_EQ(recv(useless.get(), &byte, 1, 0), 0);
  EXPECT_EQ(send(useful.get(), "x", 1, MSG_NOSIGNAL), 1);
}

}  // namespace
}  // namespace extprocd::transport
