#include "script.h"

#include <algorithm>
#include <limits>
#include <string_view>

namespace scripted {

const std::array<const char*, EXTPROC_PHASE_COUNT> kPhaseNames = {
    "request_headers", "request_body",      "request_trailers", "response_headers",
    "response_body",   "response_trailers", "local_reply"};

namespace {

constexpr std::int64_t kLongestSleep = 10000;
constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();

bool is_body(std::size_t phase) { return phase == EXTPROC_REQUEST_BODY || phase == EXTPROC_RESPONSE_BODY; }
bool is_headers(std::size_t phase) {
  return phase == EXTPROC_REQUEST_HEADERS || phase == EXTPROC_RESPONSE_HEADERS;
}

extproc_str abi(std::string_view text) { return {text.data(), text.size()}; }
std::string text_of(const extproc_str& text) {
  return text.size == 0 ? "" : std::string(text.data, text.size);
}

class Reader {
 public:
  using Node = extproc_config_node;

  Reader(const extproc_host& host, const extproc_config_api& api, std::uint32_t access)
      : host_(host), api_(api), access_(access) {}

  Script script() {
    Script script;
    for (std::size_t phase = 0; phase < kPhaseNames.size(); ++phase) {
      if (const Node* table = this->table(api_.root(&host_), kPhaseNames[phase]))
        script.phase[phase] = read_phase(table, phase);
    }
    return script;
  }

 private:
  PhaseScript read_phase(const Node* table, std::size_t phase) {
    PhaseScript script;
    script.set = headers(table, "set");
    script.add = headers(table, "add");
    script.remove = strings(table, "remove");
    script.copy = copies(table);
    script.metadata = metadata(table);
    script.clear_route_cache = flag(table, "clear_route_cache");
    script.skip = phases(table, "skip");
    if (api_.find(table, abi("extend_timeout")) != nullptr)
      script.extend_timeout = number(table, "extend_timeout", 0, 0, kMost);
    script.sleep = number(table, "sleep", 0, 1, kLongestSleep);
    if (const Node* body = api_.find(table, abi("replace_body"))) script.replace_body = text(body);
    read_end(table, script);
    if (const std::string word = text(table, "refused", "fail"); word == "ignore") {
      script.ignore_refusals = true;
    } else if (word != "fail") {
      wrong(api_.find(table, abi("refused")), "'" + word + "' is neither \"fail\" nor \"ignore\"");
    }
    if (is_headers(phase)) script.hold = flag(table, "hold");
    if (!is_body(phase)) return script;
    read_at(table, script);
    script.body = body(table);
    return script;
  }

  void read_end(const Node* table, PhaseScript& script) {
    script.finish = flag(table, "finish");
    if (const Node* node = this->table(table, "reply")) script.reply = reply(node);
    if (const Node* node = this->table(table, "fail")) {
      script.fail =
          Failure{static_cast<std::uint32_t>(number(node, "code", 13, 1, 16)), text(node, "text", "")};
    }
    if (const Node* node = api_.find(table, abi("throw"))) script.raise = text(node);
    const int ends = int{script.finish} + int{script.reply.has_value()} + int{script.fail.has_value()} +
                     int{script.raise.has_value()};
    if (ends > 1) wrong(table, "a phase ends in one way: reply, fail, throw or finish");
  }

  void read_at(const Node* table, PhaseScript& script) {
    const Node* node = api_.find(table, abi("at"));
    if (node == nullptr) return;
    if (api_.type(node) == EXTPROC_CONFIG_STRING && text(node) == "end") {
      script.at = 0;
    } else if (api_.type(node) == EXTPROC_CONFIG_INTEGER) {
      script.at = number(table, "at", 1, 1, kMost);
    } else {
      wrong(node, "must be the number of a piece, from 1, or \"end\"");
    }
  }

  BodyScript body(const Node* table) {
    BodyScript script;
    if (const auto pair = strings(table, "replace"); !pair.empty()) {
      if (pair.size() == 2 && !pair[0].empty()) {
        script.replace.emplace(pair[0], pair[1]);
      } else {
        wrong(api_.find(table, abi("replace")),
              "must be two texts: [\"old\", \"new\"], the old one not empty");
      }
    }
    script.clear = flag(table, "clear");
    script.append = text(table, "append", "");
    script.hold = number(table, "hold", 0, 1, kMost);
    script.recut = static_cast<std::size_t>(number(table, "recut", 0, 1, kMost));
    if (script.changes() && access_ < EXTPROC_ACCESS_EDIT_CHUNK) {
      wrong(table, "this module may not change bodies: take one whose access is edit_chunk, whole or stream");
    } else if ((script.hold != 0 || script.recut != 0) && access_ != EXTPROC_ACCESS_STREAM) {
      wrong(table, "hold and recut need the module whose access is stream");
    }
    const int ways =
        int{script.replace.has_value()} + int{script.clear} + int{script.hold != 0} + int{script.recut != 0};
    if (ways > 1) wrong(table, "a body is changed in one way: replace, clear, hold or recut");
    return script;
  }

  Reply reply(const Node* table) {
    Reply reply;
    reply.status = static_cast<std::uint32_t>(number(table, "status", 200, 100, 999));
    reply.headers = headers(table, "headers");
    reply.body = text(table, "body", "");
    reply.details = text(table, "details", "");
    if (api_.find(table, abi("grpc_status")) != nullptr)
      reply.grpc_status = static_cast<std::int32_t>(number(table, "grpc_status", 0, 0, 16));
    reply.pieces = strings(table, "pieces");
    reply.with_body = flag(table, "with_body");
    reply.trailers = headers(table, "trailers");
    if (!reply.pieces.empty() && !reply.body.empty()) wrong(table, "a reply has a body or pieces");
    if (reply.pieces.empty() && (reply.with_body || !reply.trailers.empty()))
      wrong(table, "with_body and trailers belong to a reply in pieces");
    return reply;
  }

  std::vector<Copy> copies(const Node* table) {
    static constexpr std::array<std::string_view, 5> kKinds = {"attribute", "metadata", "header", "facts",
                                                               "body"};
    std::vector<Copy> copies;
    for (const auto& [header, source] : headers(table, "copy")) {
      const std::size_t space = source.find(' ');
      Copy copy{header, source.substr(0, space), space == std::string::npos ? "" : source.substr(space + 1),
                ""};
      if (copy.kind == "metadata") {
        const std::size_t slash = copy.name.find('/');
        if (slash != std::string::npos) copy.detail = copy.name.substr(slash + 1);
        copy.name = copy.name.substr(0, slash);
      }
      if (std::find(kKinds.begin(), kKinds.end(), copy.kind) == kKinds.end()) {
        wrong(api_.find(table, abi("copy")),
              "'" + source + "' begins with none of attribute, metadata, header, facts, body");
      }
      copies.push_back(std::move(copy));
    }
    return copies;
  }

  std::vector<Metadata> metadata(const Node* table) {
    std::vector<Metadata> all;
    const Node* spaces = this->table(table, "metadata");
    for (std::size_t i = 0; spaces != nullptr && i < api_.size(spaces); ++i) {
      extproc_str space{};
      const Node* keys = api_.at(spaces, i, &space);
      if (!is(keys, EXTPROC_CONFIG_TABLE, "a table of keys and values")) continue;
      for (std::size_t j = 0; j < api_.size(keys); ++j) {
        extproc_str key{};
        const Node* value = api_.at(keys, j, &key);
        Metadata entry;
        entry.name_space = text_of(space);
        entry.key = text_of(key);
        std::uint32_t truth = 0;
        if (api_.get_bool(value, &truth) == EXTPROC_OK) {
          entry.type = Metadata::Type::kBool;
          entry.flag = truth != 0;
        } else if (api_.get_float(value, &entry.number) == EXTPROC_OK) {
          entry.type = Metadata::Type::kNumber;
        } else {
          entry.text = text(value);
        }
        all.push_back(std::move(entry));
      }
    }
    return all;
  }

  std::uint32_t phases(const Node* table, const char* key) {
    std::uint32_t bits = 0;
    for (const std::string& name : strings(table, key)) {
      const auto* const found = std::find(kPhaseNames.begin(), kPhaseNames.end(), name);
      if (found == kPhaseNames.end()) {
        wrong(api_.find(table, abi(key)), "'" + name + "' is no phase");
      } else {
        bits |= EXTPROC_PHASE_BIT(static_cast<std::uint32_t>(found - kPhaseNames.begin()));
      }
    }
    return bits;
  }

  /// "name: value", of which the name may begin with a colon.
  Headers headers(const Node* table, const char* key) {
    Headers headers;
    for (const std::string& line : strings(table, key)) {
      const std::size_t colon = line.find(": ", 1);
      if (colon == std::string::npos) {
        wrong(api_.find(table, abi(key)), "'" + line + "' must be \"name: value\"");
      } else {
        headers.emplace_back(line.substr(0, colon), line.substr(colon + 2));
      }
    }
    return headers;
  }

  std::vector<std::string> strings(const Node* table, const char* key) {
    std::vector<std::string> texts;
    const Node* node = api_.find(table, abi(key));
    if (node == nullptr || !is(node, EXTPROC_CONFIG_ARRAY, "an array of texts")) return texts;
    for (std::size_t i = 0; i < api_.size(node); ++i) texts.push_back(text(api_.at(node, i, nullptr)));
    return texts;
  }

  const Node* table(const Node* table, const char* key) {
    const Node* node = api_.find(table, abi(key));
    return node != nullptr && is(node, EXTPROC_CONFIG_TABLE, "a table") ? node : nullptr;
  }

  std::string text(const Node* node) {
    extproc_str value{};
    return is(node, EXTPROC_CONFIG_STRING, "text") && api_.get_string(node, &value) == EXTPROC_OK
               ? text_of(value)
               : "";
  }
  std::string text(const Node* table, const char* key, const std::string& otherwise) {
    const Node* node = api_.find(table, abi(key));
    return node == nullptr ? otherwise : text(node);
  }

  bool flag(const Node* table, const char* key) {
    std::uint32_t value = 0;
    const Node* node = api_.find(table, abi(key));
    if (node != nullptr && is(node, EXTPROC_CONFIG_BOOL, "true or false")) api_.get_bool(node, &value);
    return value != 0;
  }

  std::uint64_t number(const Node* table, const char* key, std::int64_t otherwise, std::int64_t least,
                       std::int64_t most) {
    std::int64_t value = otherwise;
    const Node* node = api_.find(table, abi(key));
    if (node == nullptr || !is(node, EXTPROC_CONFIG_INTEGER, "a whole number"))
      return static_cast<std::uint64_t>(otherwise);
    api_.get_integer(node, &value);
    if (value >= least && value <= most) return static_cast<std::uint64_t>(value);
    wrong(node, std::to_string(value) + " is not between " + std::to_string(least) + " and " +
                    std::to_string(most));
    return static_cast<std::uint64_t>(otherwise);
  }

  bool is(const Node* node, std::uint32_t type, const char* what) {
    if (api_.type(node) == type) return true;
    wrong(node, std::string("must be ") + what);
    return false;
  }

  void wrong(const Node* node, const std::string& text) { api_.error(&host_, node, abi(text)); }

  const extproc_host& host_;
  const extproc_config_api& api_;
  const std::uint32_t access_;
};

}  // namespace

Script Script::read(const extproc_host& host, std::uint32_t access) {
  const auto* api = static_cast<const extproc_config_api*>(host.get_extension(&host, EXTPROC_CONFIG_1));
  return Reader(host, *api, access).script();
}

}  // namespace scripted
