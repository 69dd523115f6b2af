#include "plugins/instructions/document.h"

#include <algorithm>
#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace instructions {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

std::string to_hex(std::string_view text) {
  std::string out;
  for (const char c : text) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    out += kDigits[static_cast<unsigned char>(c) >> 4];
    out += kDigits[static_cast<unsigned char>(c) & 15];
  }
  return out;
}

std::string from_hex(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    out += static_cast<char>(std::stoi(std::string(text.substr(i, 2)), nullptr, 16));
  }
  return out;
}

std::string joined(const std::vector<std::string>& parts) {
  std::string out;
  for (const std::string& part : parts) out += (out.empty() ? "" : ",") + part;
  return out;
}

std::string sorted(const Pairs& pairs) {
  std::vector<std::string> parts;
  for (const auto& [name, value] : pairs) parts.push_back(to_hex(name) + "=" + to_hex(value));
  std::sort(parts.begin(), parts.end());
  return joined(parts);
}

std::string summary(std::string_view text) {
  try {
    const Document document = parse(text);
    std::vector<std::string> removed;
    for (const std::string& name : document.remove_headers) removed.push_back("-" + to_hex(name));
    return sorted(document.add_headers) + ";" + joined(removed) + ";" + to_hex(document.set_body) + ";" +
           sorted(document.set_trailers);
  } catch (const BadDocument&) {
    return "error";
  }
}

TEST(Document, is_read_as_go_reads_it) {
  std::ifstream file(TEST_CASES);
  int cases = 0;
  for (std::string line; std::getline(file, line); ++cases) {
    const std::size_t tab = line.find('\t');
    const std::string text = from_hex(std::string_view(line).substr(0, tab));
    EXPECT_EQ(summary(text), line.substr(tab + 1)) << testing::PrintToString(text);
  }
  EXPECT_GT(cases, 2000);
}

TEST(Document, names_keep_the_order_in_which_they_first_appear) {
  const Document document = parse(R"({"addHeaders":{"b":"1","a":"2"},"addHeaders":{"c":"3","b":"4"}})");
  EXPECT_THAT(document.add_headers, ElementsAre(Pair("b", "4"), Pair("a", "2"), Pair("c", "3")));
}

TEST(Document, of_many_names_too_each_has_one_place_and_its_last_value) {
  for (const int names : {1, 15, 16, 17, 40}) {
    std::string text = R"({"addHeaders":{)";
    for (int i = 0; i < 2 * names; ++i) {
      text += (i == 0 ? "\"n" : ",\"n") + std::to_string(i % names) + "\":\"" + std::to_string(i) + "\"";
    }
    const Document document = parse(text + "}}");
    ASSERT_EQ(document.add_headers.size(), static_cast<std::size_t>(names));
    for (int i = 0; i < names; ++i) {
      const auto& [name, value] = document.add_headers[static_cast<std::size_t>(i)];
      EXPECT_EQ(name, "n" + std::to_string(i));
      EXPECT_EQ(value, std::to_string(names + i));
    }
  }
}

TEST(Document, empty_text_asks_for_nothing) { EXPECT_EQ(summary(""), ";;;"); }

TEST(Document, errors_say_what_and_where) {
  for (const auto& [text, part] : std::initializer_list<std::pair<const char*, const char*>>{
           {R"({"addHeaders":{"a":"1"},})", "at byte 24"},
           {"[]", "must be an object"},
           {R"({"addHeaders":[]})", "addHeaders must be an object of strings"},
           {R"({"removeHeaders":[1]})", "removeHeaders must be an array of strings"},
           {R"({"setBody":1})", "setBody must be a string"},
           {R"({"setTrailers":{"a":1}})", "setTrailers must be an object of strings"}}) {
    try {
      parse(text);
      ADD_FAILURE() << text;
    } catch (const BadDocument& error) {
      EXPECT_THAT(error.what(), HasSubstr(part));
    }
  }
}

TEST(Document, hostile_text_is_an_error_and_no_crash) {
  EXPECT_THROW(parse(std::string(1000000, '[')), BadDocument);
  EXPECT_THROW(parse(R"({"x":)" + std::string(100000, '{')), BadDocument);
  EXPECT_NO_THROW(parse(R"({"x":)" + std::string(500, '[') + std::string(500, ']') + "}"));
  EXPECT_THROW(parse(R"({"setBody":")" + std::string(1000000, 'x')), BadDocument);
  EXPECT_EQ(parse(R"({"setBody":")" + std::string(1000000, 'x') + "\"}").set_body.size(), 1000000U);
  const std::string whole =
      R"({"addHeaders":{"a":"\ud83d\ude00\u00e9"},"removeHeaders":["b"],"setBody":"c"})";
  for (std::size_t size = 1; size < whole.size(); ++size) {
    EXPECT_THROW(parse(std::string_view(whole).substr(0, size)), BadDocument) << size;
  }
}

}  // namespace
}  // namespace instructions
