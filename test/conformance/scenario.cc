#include "test/conformance/scenario.h"

#include <algorithm>
#include <filesystem>
#include <stdexcept>

#include "envoy/service/ext_proc/v3/external_processor.pb.h"
#include <google/protobuf/text_format.h>
#include <toml++/toml.h>

namespace extprocd::test {
namespace {

[[noreturn]] void malformed(const Scenario& scenario, const std::string& what) {
  throw std::runtime_error(scenario.file + ", '" + scenario.name + "': " + what);
}

std::string from_hex(const Scenario& scenario, const std::string& hex) {
  if (hex.size() % 2 != 0) malformed(scenario, "send_hex has half a byte");
  std::string bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  }
  return bytes;
}

Scenario::Step read_step(const Scenario& scenario, const toml::table& table) {
  Scenario::Step step;
  const auto text = table["send"].value<std::string>();
  const auto hex = table["send_hex"].value<std::string>();
  if (text.has_value() == hex.has_value()) malformed(scenario, "a step has either send or send_hex");
  if (hex) {
    step.message = from_hex(scenario, *hex);
  } else {
    envoy::service::ext_proc::v3::ProcessingRequest request;
    if (!google::protobuf::TextFormat::ParseFromString(*text, &request))
      malformed(scenario, "cannot read " + *text);
    step.message = request.SerializeAsString();
  }
  const toml::array* replies = table["replies"].as_array();
  if (replies == nullptr) malformed(scenario, "a step needs replies, if only []");
  for (const auto& reply : *replies) step.replies.push_back(reply.value<std::string>().value());
  return step;
}

Scenario read_scenario(const std::string& file, const toml::table& table) {
  Scenario scenario;
  scenario.file = file;
  scenario.name = table["name"].value<std::string>().value();
  scenario.status = table["status"].value_or(std::string("OK"));
  scenario.message = table["message"].value_or(std::string());
  scenario.config = config::default_config();
  if (const auto text = table["config"].value<std::string>()) {
    config::LoadResult loaded = config::load_text(*text, file);
    for (const auto& error : loaded.errors) malformed(scenario, error.to_string());
    scenario.config = std::move(loaded.config);
  }
  const toml::array* steps = table["step"].as_array();
  if (steps == nullptr) malformed(scenario, "it has no steps");
  for (const auto& step : *steps) scenario.steps.push_back(read_step(scenario, *step.as_table()));
  return scenario;
}

}  // namespace

std::vector<Scenario> load_scenarios(const std::string& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".toml") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  std::vector<Scenario> scenarios;
  for (const auto& path : files) {
    const toml::table file = toml::parse_file(path.string());
    for (const auto& entry : *file["scenario"].as_array()) {
      scenarios.push_back(read_scenario(path.stem().string(), *entry.as_table()));
    }
  }
  return scenarios;
}

}  // namespace extprocd::test
