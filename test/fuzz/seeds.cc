// seeds SCENARIOS FOLDER: the conversations of the scenarios as inputs of the fuzz targets, in FOLDER/wire and
// FOLDER/stream, and in the latter for each body mode some in which plugins hold, change, let go and wait: where fuzzing
// begins.

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "envoy/service/ext_proc/v3/external_processor.pb.h"

#include "test/conformance/scenario.h"
#include "test/fuzz/input.h"

namespace {

void write(const std::filesystem::path& file, const std::string& bytes) {
  std::ofstream(file, std::ios::binary) << bytes;
}

using envoy::extensions::filters::http::ext_proc::v3::ProcessingMode;
using envoy::service::ext_proc::v3::ProcessingRequest;

/// Headers, a body in three pieces and its end, with trailers or without, as the data plane sends them in a mode. `between`
/// comes behind each message.
std::string conversation(ProcessingMode::BodySendMode mode, bool response, bool trailers,
                         const std::string& between = {}) {
  ProcessingRequest first;
  if (response) {
    (*first.mutable_response_headers()->mutable_headers()).add_headers()->set_key(":status");
    first.mutable_response_headers()->mutable_headers()->mutable_headers(0)->set_raw_value("200");
  } else {
    (*first.mutable_request_headers()->mutable_headers()).add_headers()->set_key("content-length");
    first.mutable_request_headers()->mutable_headers()->mutable_headers(0)->set_raw_value("9");
  }
  first.mutable_protocol_config()->set_request_body_mode(response ? ProcessingMode::NONE : mode);
  first.mutable_protocol_config()->set_response_body_mode(response ? mode : ProcessingMode::NONE);
  std::string bytes = extprocd::fuzz::write_message(first.SerializeAsString()) + between;
  const bool at_once = mode == ProcessingMode::BUFFERED || mode == ProcessingMode::BUFFERED_PARTIAL;
  const std::vector<std::string> chunks =
      at_once ? std::vector<std::string>{"abcdefghi"} : std::vector<std::string>{"abc", "def", "ghi"};
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    ProcessingRequest message;
    auto& body = response ? *message.mutable_response_body() : *message.mutable_request_body();
    body.set_body(chunks[i]);
    body.set_end_of_stream(!trailers && i + 1 == chunks.size());
    bytes += extprocd::fuzz::write_message(message.SerializeAsString()) + between;
  }
  if (trailers) {
    ProcessingRequest message;
    auto& part = response ? *message.mutable_response_trailers() : *message.mutable_request_trailers();
    part.mutable_trailers()->add_headers()->set_key("x-t");
    bytes += extprocd::fuzz::write_message(message.SerializeAsString()) + between;
  }
  return bytes + extprocd::fuzz::write_half_close();
}

void write_body_seeds(const std::filesystem::path& folder) {
  // For each call of a plugin: hold; write, let two bytes go, drop one; let the rest go.
  const std::string begins(1, '\x01');
  const std::string holds = "\x04";
  const std::string edits =
      std::string("\x18\x0c+-", 4) + std::string("\x19\x02", 2) + std::string("\x1a\x01", 2);
  const std::string goes_on(1, '\0');
  const std::vector<std::string> programs = {
      begins + holds + begins + edits + holds + goes_on + edits + goes_on + holds + holds + edits + edits,
      begins + goes_on + begins + goes_on + edits + goes_on + edits + holds + holds + edits + holds +
          goes_on};
  int number = 0;
  for (const auto mode :
       {ProcessingMode::NONE, ProcessingMode::STREAMED, ProcessingMode::BUFFERED,
        ProcessingMode::BUFFERED_PARTIAL, ProcessingMode::FULL_DUPLEX_STREAMED, ProcessingMode::GRPC}) {
    for (uint8_t access = 0; access < 4; ++access) {
      for (const bool response : {false, true}) {
        for (const bool trailers : {false, true}) {
          extprocd::fuzz::Head head;
          head.access = static_cast<uint8_t>((access << 6) | (access << 4) | (access << 2) | access);
          head.policies = static_cast<uint8_t>(number % 9);
          head.program = programs[static_cast<std::size_t>(number % 2)];
          write(folder / ("body-" + std::to_string(number++)),
                extprocd::fuzz::write_head(head) + conversation(mode, response, trailers));
        }
      }
    }
  }
}

/// Both plugins wait in each call, and for what comes between the messages: somebody who resumes them, their own timer, or
/// nobody until their time is over.
void write_waiting_seeds(const std::filesystem::path& folder) {
  const std::string begins(1, '\x01');
  const std::string goes_on(1, '\0');
  const std::string waits = "\x3f";
  const std::string waits_resumed = "\xff";
  const std::string waits_for_timer = "\x5f\x9f\x05\x3f";
  const std::string resumed = std::string("\x18\x0c+-", 4) + goes_on;
  const auto calls = [&](const std::string& way) {
    std::string program = begins + way + resumed + begins;
    for (int i = 0; i < 8; ++i) program += way + resumed;
    return program;
  };
  std::string by_resumes;
  for (uint8_t handle = 0; handle < 4; ++handle) {
    by_resumes += extprocd::fuzz::write_resume(handle);
    by_resumes += extprocd::fuzz::write_posted_work();
  }
  const std::string by_posted = extprocd::fuzz::write_posted_work() + extprocd::fuzz::write_posted_work();
  const std::string by_timer = extprocd::fuzz::write_timer() + extprocd::fuzz::write_timer();
  const std::vector<std::pair<std::string, std::string>> ways = {
      {calls(waits), by_resumes},
      {calls(waits_resumed), by_posted},
      {calls(waits_for_timer), by_timer},
      {calls(waits), by_timer},
      {calls(waits_resumed), extprocd::fuzz::write_timer() + by_posted}};
  int number = 0;
  for (const auto mode :
       {ProcessingMode::STREAMED, ProcessingMode::BUFFERED, ProcessingMode::BUFFERED_PARTIAL,
        ProcessingMode::FULL_DUPLEX_STREAMED, ProcessingMode::GRPC}) {
    for (const auto& [program, between] : ways) {
      for (const bool response : {false, true}) {
        extprocd::fuzz::Head head;
        head.access = number % 2 == 0 ? 0xff : 0x55;
        head.policies = static_cast<uint8_t>(number % 9);
        head.metadata = static_cast<uint8_t>((number * 8) & 0x38);
        head.data_plane = 4;
        head.program = program;
        write(folder / ("waiting-" + std::to_string(number)),
              extprocd::fuzz::write_head(head) + conversation(mode, response, number % 3 == 0, between));
        ++number;
      }
    }
  }
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
  write_body_seeds(folder / "stream");
  write_waiting_seeds(folder / "stream");
  return 0;
}
