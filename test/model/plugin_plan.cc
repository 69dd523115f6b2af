#include "test/model/plugin_plan.h"

#include "absl/strings/escaping.h"

namespace extprocd::model {

std::string phase_name(std::uint32_t phase) {
  static const std::vector<std::string> kNames = {"request_headers",  "request_body",  "request_trailers",
                                                  "response_headers", "response_body", "response_trailers",
                                                  "local_reply"};
  return kNames.at(phase);
}

std::string to_string(Outcome outcome) {
  static const std::vector<std::string> kNames = {"continue", "finish",        "reply",         "fail",
                                                  "throw",    "reply without", "unknown action"};
  return kNames.at(static_cast<std::size_t>(outcome));
}

std::string to_string(const Step& step) {
  static const std::vector<std::string> kNames = {
      "set", "add", "remove", "replace body", "clear route cache", "metadata"};
  return kNames.at(static_cast<std::size_t>(step.kind)) + " " + readable(step.name) + "=" +
         readable(step.value);
}

std::string to_string(const PluginPlan& plan) {
  std::string text = "on_error " + std::string(config::to_string(plan.on_error));
  if (plan.fails_to_begin) text += ", fails to begin";
  text += "\n";
  for (std::uint32_t phase = 0; phase < EXTPROC_PHASE_COUNT; ++phase) {
    if ((plan.phases & EXTPROC_PHASE_BIT(phase)) == 0) continue;
    const PhasePlan& what = plan.phase[phase];
    text += "    " + phase_name(phase) + ":";
    for (const Step& step : what.steps) text += " " + to_string(step) + ",";
    text += " " + to_string(what.outcome);
    if (what.outcome != Outcome::kContinue) text += " at call " + std::to_string(what.outcome_at);
    if (what.outcome == Outcome::kReply) {
      text += " " + std::to_string(what.reply_status) + " " + to_string(what.reply_headers);
    }
    if (what.outcome == Outcome::kFail) text += " code " + std::to_string(what.fail_code);
    text += "\n";
  }
  return text;
}

std::string readable(const std::string& bytes) {
  constexpr std::size_t kMost = 60;
  if (bytes.size() <= kMost) return absl::CHexEscape(bytes);
  return absl::CHexEscape(bytes.substr(0, kMost)) + "…(" + std::to_string(bytes.size()) + " bytes)";
}

std::string to_string(const Headers& headers) {
  std::string text = "{";
  for (const auto& [name, value] : headers)
    text += (text.size() > 1 ? "; " : "") + readable(name) + "=" + readable(value);
  return text + "}";
}

}  // namespace extprocd::model
