#include "test/model/plugin_plan.h"

#include <cstdint>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace extprocd::model {

std::string phase_name(std::uint32_t phase) {
  static const std::vector<std::string> kNames = {"request_headers",  "request_body",  "request_trailers",
                                                  "response_headers", "response_body", "response_trailers",
                                                  "local_reply"};
  return kNames.at(phase);
}

std::string to_string(Outcome outcome) {
  static const std::vector<std::string> kNames = {
      "continue", "finish", "reply", "fail", "throw", "reply without", "suspend without", "unknown action"};
  return kNames.at(static_cast<std::size_t>(outcome));
}

std::string to_string(const Step& step) {
  static const std::vector<std::string> kNames = {
      "set",     "add",  "remove", "replace body", "clear route cache", "metadata", "write",
      "forward", "drop", "skip",   "extend"};
  const std::string& name = kNames.at(static_cast<std::size_t>(step.kind));
  if (step.kind == Step::Kind::kForward || step.kind == Step::Kind::kDrop) {
    return name + " " + (step.size == SIZE_MAX ? "all" : std::to_string(step.size));
  }
  if (step.kind == Step::Kind::kExtend) return name + " by " + std::to_string(step.size) + " ms";
  if (step.kind == Step::Kind::kSkip) return name + " phases " + std::to_string(step.phases);
  return name + " " + readable(step.name) + "=" + readable(step.value);
}

std::string to_string(const Pause& pause) {
  std::string text = "waits";
  if (pause.after) text += " " + std::to_string(*pause.after) + " ms";
  if (pause.resumes_at_once) text += " resuming at once";
  if (pause.asks_twice) text += " asking twice";
  if (pause.forgotten) text += " and forgets it";
  if (pause.left_alone) text += " left alone";
  return text;
}

std::string to_string(const PluginPlan& plan) {
  std::string text = "on_error " + std::string(config::to_string(plan.on_error));
  if (plan.fails_to_begin) text += ", fails to begin";
  text += ", max_body_bytes " + std::to_string(plan.max_body_bytes);
  text += "\n";
  for (std::uint32_t phase = 0; phase < EXTPROC_PHASE_COUNT; ++phase) {
    if ((plan.phases & EXTPROC_PHASE_BIT(phase)) == 0) continue;
    const PhasePlan& what = plan.phase[phase];
    text += "    " + phase_name(phase);
    if (phase == EXTPROC_REQUEST_BODY) text += " (" + access_name(plan.body_access[0]) + ")";
    if (phase == EXTPROC_RESPONSE_BODY) text += " (" + access_name(plan.body_access[1]) + ")";
    text += ":";
    if (what.holds != 0) text += " holds " + absl::StrCat(absl::Hex(what.holds));
    if (what.holds_at_end) text += " at the end too";
    if (what.busy != ~0U) text += " busy " + absl::StrCat(absl::Hex(what.busy));
    if (what.takes != 0) text += " takes " + std::to_string(what.takes) + " ms";
    for (const Step& step : what.steps) text += " " + to_string(step) + ",";
    if (what.waits != 0) {
      text += " at calls " + absl::StrCat(absl::Hex(what.waits));
      for (const Pause& pause : what.pauses) text += " " + to_string(pause) + ",";
      for (const Step& step : what.steps_resumed) text += " resumed " + to_string(step) + ",";
    }
    if (phase < plan.timeouts.size() && plan.timeouts[phase] != 0)
      text += " within " + std::to_string(plan.timeouts[phase]) + " ms,";
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

std::string access_name(std::uint32_t access) {
  static const std::vector<std::string> kNames = {"none", "observe", "edit_chunk", "whole", "stream"};
  return kNames.at(access);
}

std::string flag_names(std::uint32_t flags) {
  static const std::vector<std::string> kNames = {" eos", " end of body", " partial", " compressed"};
  std::string text;
  for (std::size_t bit = 0; bit < kNames.size(); ++bit) {
    if (((flags >> bit) & 1) != 0) text += kNames[bit];
  }
  return text;
}

std::string pieces_seen(const std::vector<std::string>& pieces, bool messages) {
  std::string text;
  for (const auto& piece : pieces) text += messages ? "[" + readable(piece) + "]" : piece;
  return messages ? text : readable(text);
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
