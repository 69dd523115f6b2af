// seeds SCENARIOS FOLDER: the conversations of the scenarios as inputs of the fuzz targets, in FOLDER/wire and
// FOLDER/stream, and in the latter for each body mode some in which plugins hold, change and let go: where fuzzing begins.

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
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

/// Headers, a body in three pieces and its end, with trailers or without, as the data plane sends them in a mode.
std::string conversation(ProcessingMode::BodySendMode mode, bool response, bool trailers) {
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
  std::string bytes = extprocd::fuzz::write_message(first.SerializeAsString());
  const bool at_once = mode == ProcessingMode::BUFFERED || mode == ProcessingMode::BUFFERED_PARTIAL;
  const std::vector<std::string> chunks =
      at_once ? std::vector<std::string>{"abcdefghi"} : std::vector<std::string>{"abc", "def", "ghi"};
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    ProcessingRequest message;
    auto& body = response ? *message.mutable_response_body() : *message.mutable_request_body();
    body.set_body(chunks[i]);
    body.set_end_of_stream(!trailers && i + 1 == chunks.size());
    bytes += extprocd::fuzz::write_message(message.SerializeAsString());
  }
  if (trailers) {
    ProcessingRequest message;
    auto& part = response ? *message.mutable_response_trailers() : *message.mutable_request_trailers();
    part.mutable_trailers()->add_headers()->set_key("x-t");
    bytes += extprocd::fuzz::write_message(message.SerializeAsString());
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
  return 0;
}
