#include "test/conformance/envoy_case.h"

#include <algorithm>
#include <cctype>
#include <initializer_list>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string_view>
#include <utility>

#include <toml++/toml.h>

namespace extprocd::conformance {
namespace {

using model::ProcessingMode;
using model::Side;

[[noreturn]] void malformed(const toml::node& where, const std::string& what) {
  std::ostringstream text;
  const toml::source_region& source = where.source();
  text << (source.path ? *source.path : "scenario") << ":" << source.begin.line << ": " << what;
  throw std::runtime_error(text.str());
}

void only(const toml::table& table, std::initializer_list<std::string_view> keys) {
  for (const auto& [key, value] : table) {
    if (std::find(keys.begin(), keys.end(), key.str()) == keys.end())
      malformed(value, "unknown key '" + std::string(key.str()) + "'");
  }
}

const toml::table& table_at(const toml::table& table, std::string_view key) {
  static const toml::table kEmpty;
  const toml::node* node = table.get(key);
  if (node == nullptr) return kEmpty;
  if (!node->is_table()) malformed(*node, "'" + std::string(key) + "' must be a table");
  return *node->as_table();
}

std::vector<std::string> strings_at(const toml::table& table, std::string_view key) {
  std::vector<std::string> texts;
  const toml::node* node = table.get(key);
  if (node == nullptr) return texts;
  if (!node->is_array()) malformed(*node, "'" + std::string(key) + "' must be an array of texts");
  for (const toml::node& one : *node->as_array()) {
    if (!one.is_string()) malformed(one, "'" + std::string(key) + "' must be an array of texts");
    texts.push_back(**one.as_string());
  }
  return texts;
}

std::string string_at(const toml::table& table, std::string_view key, std::string otherwise = {}) {
  const toml::node* node = table.get(key);
  if (node == nullptr) return otherwise;
  if (!node->is_string()) malformed(*node, "'" + std::string(key) + "' must be text");
  return **node->as_string();
}

bool flag_at(const toml::table& table, std::string_view key) {
  const toml::node* node = table.get(key);
  if (node == nullptr) return false;
  if (!node->is_boolean()) malformed(*node, "'" + std::string(key) + "' must be true or false");
  return **node->as_boolean();
}

/// "\\xNN" stands for a byte that TOML cannot have.
std::string with_bytes(std::string text) {
  for (std::size_t at = 0; (at = text.find("\\x", at)) != std::string::npos; ++at) {
    text.replace(at, 4, 1, static_cast<char>(std::stoi(text.substr(at + 2, 2), nullptr, 16)));
  }
  return text;
}

Headers headers_at(const toml::table& table, std::string_view key) {
  Headers headers;
  for (const std::string& line : strings_at(table, key)) {
    const std::size_t colon = line.find(": ", 1);
    if (colon == std::string::npos) malformed(*table.get(key), "'" + line + "' must be \"name: value\"");
    headers.emplace_back(line.substr(0, colon), with_bytes(line.substr(colon + 2)));
  }
  return headers;
}

std::map<std::string, std::string> texts_at(const toml::table& table, std::string_view key) {
  std::map<std::string, std::string> texts;
  const toml::table& entries = table_at(table, key);
  for (const auto& [name, value] : entries) texts[std::string(name.str())] = string_at(entries, name.str());
  return texts;
}

/// Text, { repeat = "text", bytes = n }, or an array of these, one behind the other.
std::string text_of(const toml::node& node) {
  if (const toml::array* parts = node.as_array()) {
    std::string text;
    for (const toml::node& part : *parts) text += text_of(part);
    return text;
  }
  if (node.is_string()) return **node.as_string();
  if (!node.is_table()) malformed(node, "must be text or { repeat = \"text\", bytes = n }");
  const toml::table& table = *node.as_table();
  only(table, {"repeat", "bytes"});
  const std::string unit = string_at(table, "repeat");
  const auto bytes = table["bytes"].value<std::int64_t>();
  if (unit.empty() || !bytes || *bytes < 0)
    malformed(node, "must be text or { repeat = \"text\", bytes = n }");
  std::string text;
  while (text.size() < static_cast<std::size_t>(*bytes)) text += unit;
  text.resize(static_cast<std::size_t>(*bytes));
  return text;
}

std::string joined(const std::vector<std::string>& chunks) {
  std::string all;
  for (const std::string& chunk : chunks) all += chunk;
  return all;
}

/// The ways to cut a body up. With fewer bytes than pieces there are fewer pieces.
std::vector<std::string> cut(const std::string& body, const std::string& chunking, const toml::node& where) {
  std::size_t size = std::max<std::size_t>(body.size(), 1);
  if (chunking == "many") {
    size = (size + 3) / 4;
  } else if (chunking == "bytes") {
    size = 1;
  } else if (chunking != "one" && chunking != "late end") {
    malformed(where, "no chunking '" + chunking + "': one, many, bytes or \"late end\"");
  }
  std::vector<std::string> chunks;
  for (std::size_t at = 0; at < body.size(); at += size) chunks.push_back(body.substr(at, size));
  if (chunks.empty() || chunking == "late end") chunks.emplace_back();
  return chunks;
}

/// What tells one variant of a scenario from another.
struct Variant {
  std::string access;
  std::string mode;
  std::string chunking;
};

/// The texts of `key`, or one empty text: not a dimension then.
std::vector<std::string> dimension(const toml::table& scenario, std::string_view key) {
  std::vector<std::string> values = strings_at(scenario, key);
  if (values.empty()) values.emplace_back();
  return values;
}

class Reader {
 public:
  Reader(const toml::table& scenario, Variant variant) : scenario_(scenario), variant_(std::move(variant)) {}

  Case read() {
    only(scenario_, {"name",           "variant",  "note",         "access",   "modes",         "chunking",
                     "data_plane",     "filter",   "buffer_limit", "server",   "plugin",        "request",
                     "response",       "upstream", "client",       "counters", "stream_status", "ignored",
                     "not_producible", "version",  "protocol",     "metadata", "set_metadata",  "fault"});
    Case result;
    result.place = place();
    result.name = string_at(scenario_, "name");
    if (result.name.empty()) malformed(scenario_, "a scenario has the name of Envoy's test");
    result.id = result.name;
    for (const std::string& part :
         {string_at(scenario_, "variant"), variant_.access, variant_.mode, variant_.chunking}) {
      if (!part.empty()) result.id += ", " + part;
    }
    filter_ = table_at(scenario_, "filter");
    fill_in_mode();
    read_settings(result);
    read_exchange(result);
    withhold_others(result);
    result.config = config({});
    result.upstream = expected("upstream");
    result.client = expected("client");
    default_expectations(result);
    result.stream_status = string_at(scenario_, "stream_status", "OK");
    result.ignored = strings_at(scenario_, "ignored");
    result.metadata = texts_at(scenario_, "metadata");
    for (const auto& [name_space, keys] : table_at(scenario_, "set_metadata")) {
      if (!keys.is_table()) malformed(keys, "set_metadata has a table of texts a namespace");
      result.set_metadata[std::string(name_space.str())] =
          texts_at(table_at(scenario_, "set_metadata"), name_space.str());
    }
    result.fault = string_at(scenario_, "fault");
    for (const auto& [column, why] : table_at(scenario_, "not_producible")) {
      result.not_producible[std::string(column.str())] = why.value_or(std::string());
    }
    result.json = json(result);
    return result;
  }

 private:
  std::string place() const {
    std::ostringstream text;
    text << std::filesystem::path(*scenario_.source().path).filename().string() << ":"
         << scenario_.source().begin.line;
    return text.str();
  }

  /// "*" stands for the variant's body mode; full duplex takes the trailers as well, since Envoy takes nothing else.
  void fill_in_mode() {
    toml::table* modes = filter_["processing_mode"].as_table();
    if (modes == nullptr) {
      filter_.insert_or_assign("processing_mode", toml::table{});
      modes = filter_["processing_mode"].as_table();
    }
    for (const char* side : {"request", "response"}) {
      const std::string key = std::string(side) + "_body_mode";
      if ((*modes)[key].value_or(std::string()) == "*") modes->insert_or_assign(key, variant_.mode);
      if ((*modes)[key].value_or(std::string()) == "FULL_DUPLEX_STREAMED")
        modes->insert_or_assign(std::string(side) + "_trailer_mode", "SEND");
    }
  }

  void read_settings(Case& result) {
    model::FilterSettings& settings = result.settings;
    const toml::table& modes = table_at(filter_, "processing_mode");
    only(modes, {"request_header_mode", "response_header_mode", "request_body_mode", "response_body_mode",
                 "request_trailer_mode", "response_trailer_mode"});
    for (const Side side : {Side::kRequest, Side::kResponse}) {
      const std::string name = side == Side::kRequest ? "request" : "response";
      model::SideSettings& mode = settings.sides[model::index(side)];
      mode.send_headers = string_at(modes, name + "_header_mode") != "SKIP";
      mode.send_trailers = string_at(modes, name + "_trailer_mode") == "SEND";
      const std::string body = string_at(modes, name + "_body_mode", "NONE");
      if (!ProcessingMode::BodySendMode_Parse(body, &mode.body))
        malformed(modes, "no body mode '" + body + "'");
    }
    settings.send_body_without_waiting_for_header_response =
        flag_at(filter_, "send_body_without_waiting_for_header_response");
    settings.observability_mode = flag_at(filter_, "observability_mode");
    settings.allow_mode_override = flag_at(filter_, "allow_mode_override");
    settings.allow_content_length_header = flag_at(filter_, "allow_content_length_header");
    settings.buffer_limit = scenario_["buffer_limit"].value_or(settings.buffer_limit);
    result.failure_mode_allow = flag_at(filter_, "failure_mode_allow");
    settings.withheld = exact_patterns("disallowed_headers");
    const std::string data_plane = string_at(scenario_, "data_plane", "envoy");
    if (data_plane == "grpc") {
      settings.grpc_data_plane = true;
    } else if (data_plane == "grpc with windows") {
      settings.grpc_data_plane = true;
      settings.windows = model::Windows{65536, 65536, 65536, 65536};
    } else if (data_plane == "envoy before 1.34") {
      settings.sends_protocol_config = false;
    } else if (data_plane != "envoy") {
      malformed(scenario_, "no data plane '" + data_plane + "'");
    }
  }

  std::set<std::string> exact_patterns(const std::string& list) {
    std::set<std::string> names;
    const auto* patterns = filter_.at_path("forward_rules." + list + ".patterns").as_array();
    if (patterns == nullptr) return names;
    for (const toml::node& pattern : *patterns) names.insert(string_at(*pattern.as_table(), "exact"));
    return names;
  }

  /// What allowed_headers does not name is withheld.
  void withhold_others(Case& result) {
    const std::set<std::string> allowed = exact_patterns("allowed_headers");
    if (allowed.empty()) return;
    for (const model::HttpMessage* message : {&result.exchange.request, &result.exchange.response}) {
      for (const Headers& headers : {message->headers, message->trailers.value_or(Headers{})}) {
        for (const auto& [name, value] : headers) {
          if (!allowed.contains(name)) result.settings.withheld.insert(name);
        }
      }
    }
  }

  void read_exchange(Case& result) {
    const toml::table& request = table_at(scenario_, "request");
    only(request, {"method", "path", "headers", "body", "trailers", "upgrade", "goes_away"});
    result.exchange.upgrade = flag_at(request, "upgrade");
    result.goes_away = flag_at(request, "goes_away");
    result.exchange.request = message(request);
    Headers& headers = result.exchange.request.headers;
    headers.insert(headers.begin(),
                   {{":method", string_at(request, "method", request.contains("body") ? "POST" : "GET")},
                    {":scheme", "http"},
                    {":path", string_at(request, "path", "/")},
                    {":authority", "extproc.example"}});
    const toml::table& response = table_at(scenario_, "response");
    only(response, {"status", "headers", "body", "trailers", "early"});
    result.early = flag_at(response, "early");
    result.exchange.response = message(response);
    Headers& response_headers = result.exchange.response.headers;
    response_headers.insert(response_headers.begin(), {":status", string_at(response, "status", "200")});
  }

  model::HttpMessage message(const toml::table& table) const {
    model::HttpMessage message;
    message.headers = headers_at(table, "headers");
    if (const toml::node* body = table.get("body")) {
      if (const toml::array* chunks = body->as_array()) {
        for (const toml::node& chunk : *chunks) message.chunks.push_back(text_of(chunk));
      } else {
        message.chunks =
            cut(text_of(*body), variant_.chunking.empty() ? "one" : variant_.chunking, scenario_);
      }
    }
    if (table.contains("trailers")) message.trailers = headers_at(table, "trailers");
    return message;
  }

  Expected expected(std::string_view end) const {
    const toml::table& table = table_at(scenario_, end);
    only(table, {"reached", "status", "headers", "absent", "body", "trailers", "cut", "partial"});
    Expected expected;
    if (table.contains("reached")) expected.reached = flag_at(table, "reached");
    expected.cut = flag_at(table, "cut");
    expected.partial = flag_at(table, "partial");
    expected.headers = headers_at(table, "headers");
    if (const std::string status = string_at(table, "status"); !status.empty())
      expected.headers.emplace_back(":status", status);
    expected.absent = strings_at(table, "absent");
    if (const toml::node* body = table.get("body")) expected.body = text_of(*body);
    if (table.contains("trailers")) expected.trailers = headers_at(table, "trailers");
    return expected;
  }

  /// What is not said stays as it was: the bodies and the trailers of both messages, and the status.
  void default_expectations(Case& result) const {
    const auto unchanged = [](Expected& expected, const model::HttpMessage& message) {
      if (expected.partial) return;
      if (!expected.body) expected.body = joined(message.chunks);
      if (!expected.trailers) expected.trailers = message.trailers.value_or(Headers{});
    };
    if (result.upstream.reached) unchanged(result.upstream, result.exchange.request);
    const bool other = model::first_value(result.client.headers, ":status").has_value();
    if (!other)
      result.client.headers.emplace_back(":status",
                                         *model::first_value(result.exchange.response.headers, ":status"));
    if (!other) unchanged(result.client, result.exchange.response);
  }

  /// The server's configuration; with a chain's name the plugins alone, as that chain.
  std::string config(const std::string& chain) const {
    toml::table config = chain.empty() ? table_at(scenario_, "server") : toml::table{};
    toml::array plugins;
    toml::array names;
    if (const toml::node* listed = scenario_.get("plugin")) {
      if (!listed->is_array_of_tables()) malformed(*listed, "plugins are [[scenario.plugin]] tables");
      for (const toml::node& one : *listed->as_array()) {
        toml::table plugin = *one.as_table();
        only(plugin, {"access", "on_error", "deny_status", "max_body_bytes", "when", "config"});
        std::string access = string_at(plugin, "access", variant_.access.empty() ? "none" : variant_.access);
        std::replace(access.begin(), access.end(), ' ', '_');
        const std::string name = chain + "p" + std::to_string(plugins.size());
        plugin.erase("access");
        plugin.insert("name", name);
        plugin.insert("module", "scripted_" + access + ".so");
        plugins.push_back(std::move(plugin));
        names.push_back(name);
      }
    }
    if (!plugins.empty()) config.insert("plugin", std::move(plugins));
    if (!chain.empty()) {
      toml::table match{{"metadata", toml::table{{"x-extproc-chain", chain}}}};
      config.insert("chain",
                    toml::array{toml::table{
                        {"name", chain}, {"plugins", std::move(names)}, {"match", std::move(match)}}});
    }
    std::ostringstream text;
    text << config << "\n";
    return text.str();
  }

  static toml::array lines(const Headers& headers) {
    toml::array lines;
    for (const auto& [name, value] : headers) lines.push_back(name + ": " + value);
    return lines;
  }
  static toml::array texts(const std::vector<std::string>& values) {
    toml::array array;
    for (const std::string& value : values) array.push_back(value);
    return array;
  }
  static toml::table message(const model::HttpMessage& message) {
    toml::table table{{"headers", lines(message.headers)}, {"chunks", texts(message.chunks)}};
    if (message.trailers) table.insert("trailers", lines(*message.trailers));
    return table;
  }
  static toml::table expectation(const Expected& expected) {
    toml::table table{{"reached", expected.reached},
                      {"partial", expected.partial},
                      {"headers", lines(expected.headers)},
                      {"absent", texts(expected.absent)}};
    if (expected.body) table.insert("body", *expected.body);
    if (expected.trailers) table.insert("trailers", lines(*expected.trailers));
    return table;
  }

  std::string json(const Case& result) const {
    // A name for the chain that is also one in paths.
    static std::size_t number = 0;
    const std::string chain = "c" + std::to_string(number++) + "-";
    std::ostringstream server;
    server << table_at(scenario_, "server");
    toml::table table{{"name", result.name},
                      {"id", result.id},
                      {"test", result.test_name()},
                      {"place", result.place},
                      {"chain", chain},
                      {"server", server.str()},
                      {"plugins", config(chain)},
                      {"filter", filter_},
                      {"buffer_limit", scenario_["buffer_limit"].value_or(std::int64_t{0})},
                      {"protocol", string_at(scenario_, "protocol", "http2")},
                      {"early", result.early},
                      {"goes_away", result.goes_away},
                      {"upgrade", result.exchange.upgrade},
                      {"request", message(result.exchange.request)},
                      {"response", message(result.exchange.response)},
                      {"upstream", expectation(result.upstream)},
                      {"client", expectation(result.client)},
                      {"counters", table_at(scenario_, "counters")},
                      {"not_producible", table_at(scenario_, "not_producible")},
                      {"version", table_at(scenario_, "version")},
                      {"metadata", table_at(scenario_, "metadata")},
                      {"set_metadata", table_at(scenario_, "set_metadata")},
                      {"expects_cut", result.client.cut},
                      {"fault", result.fault}};
    std::ostringstream text;
    text << toml::json_formatter(table);
    return text.str();
  }

  const toml::table& scenario_;
  const Variant variant_;
  toml::table filter_;
};

void add_variants(const toml::table& scenario, std::vector<Case>& cases) {
  for (const std::string& access : dimension(scenario, "access")) {
    for (const std::string& mode : dimension(scenario, "modes")) {
      for (const std::string& chunking : dimension(scenario, "chunking")) {
        cases.push_back(Reader(scenario, {access, mode, chunking}).read());
      }
    }
  }
}

}  // namespace

std::string Case::test_name() const {
  std::string test = id;
  for (char& c : test) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  return test;
}

void PrintTo(const Case& a_case, std::ostream* out) { *out << a_case.place << ": " << a_case.id; }

std::vector<Case> load_cases(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".toml") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  std::vector<Case> cases;
  std::set<std::string> ids;
  for (const auto& path : files) {
    toml::table file;
    try {
      file = toml::parse_file(path.string());
    } catch (const toml::parse_error& error) {
      throw std::runtime_error(path.string() + ":" + std::to_string(error.source().begin.line) + ": " +
                               std::string(error.description()));
    }
    only(file, {"scenario"});
    const toml::array* scenarios = file["scenario"].as_array();
    if (scenarios == nullptr) malformed(file, "there is no [[scenario]]");
    for (const toml::node& scenario : *scenarios) {
      const std::size_t before = cases.size();
      add_variants(*scenario.as_table(), cases);
      for (std::size_t i = before; i < cases.size(); ++i) {
        if (!ids.insert(cases[i].id).second)
          malformed(scenario, "two cases '" + cases[i].id + "': give one a variant");
      }
    }
  }
  return cases;
}

}  // namespace extprocd::conformance
