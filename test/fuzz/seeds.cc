// seeds SCENARIOS FOLDER: the conversations of the scenarios as inputs of the fuzz targets, in FOLDER/wire and
// FOLDER/stream: where fuzzing begins.

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "test/conformance/scenario.h"
#include "test/fuzz/input.h"

namespace {

void write(const std::filesystem::path& file, const std::string& bytes) {
  std::ofstream(file, std::ios::binary) << bytes;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return std::fprintf(stderr, "usage: %s SCENARIOS FOLDER\n", argv[0]), 2;
  const std::filesystem::path folder = argv[2];
  for (const char* target : {"wire", "stream"}) std::filesystem::create_directories(folder / target);
  int number = 0;
  for (const auto& scenario : extprocd::test::load_scenarios(argv[1])) {
    extprocd::fuzz::Head head;
    head.policies = static_cast<uint8_t>(number % 9);
    std::string conversation;
    for (const auto& step : scenario.steps) {
      if (step.message.size() > 4096) continue;
      write(folder / "wire" / ("seed-" + std::to_string(number++)), step.message);
      head.program += '\0';  // go on
      conversation += extprocd::fuzz::write_message(step.message);
    }
    conversation += extprocd::fuzz::write_half_close();
    write(folder / "stream" / ("seed-" + std::to_string(number)),
          extprocd::fuzz::write_head(head) + conversation);
  }
  return 0;
}
