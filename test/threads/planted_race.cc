// A data race on purpose. Under ThreadSanitizer this program must fail; the test that runs it proves that the
// job sees races at all.

#include <thread>

namespace {
long counter = 0;
}

int main() {
  const auto add = [] {
    for (int i = 0; i < 100000; ++i) counter = counter + 1;
  };
  std::thread first(add);
  std::thread second(add);
  first.join();
  second.join();
  return counter < 0 ? 1 : 0;
}
