#include "core/config/match.h"

#include <algorithm>

namespace extprocd::config {
namespace {

using Kind = TextPattern::Kind;

/// Does every entry of `narrow` fit into one of `wide`? A part that is empty takes everything.
bool covers_all(const TextPatterns& wide, const TextPatterns& narrow) {
  if (wide.empty()) return true;
  return !narrow.empty() && std::all_of(narrow.begin(), narrow.end(), [&](const TextPattern& inner) {
    return std::any_of(wide.begin(), wide.end(),
                       [&](const TextPattern& outer) { return outer.covers(inner); });
  });
}

const NamedPatterns* find(const std::vector<NamedPatterns>& all, std::string_view name) {
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const auto& entry) { return entry.name == name; });
  return found == all.end() ? nullptr : &*found;
}

bool covers_all(const std::vector<NamedPatterns>& wide, const std::vector<NamedPatterns>& narrow) {
  return std::all_of(wide.begin(), wide.end(), [&](const NamedPatterns& outer) {
    const NamedPatterns* inner = find(narrow, outer.name);
    return inner != nullptr && covers_all(outer.patterns, inner->patterns);
  });
}

bool excludes_all(const TextPatterns& a, const TextPatterns& b) {
  if (a.empty() || b.empty()) return false;
  return std::none_of(a.begin(), a.end(), [&](const TextPattern& one) {
    return std::any_of(b.begin(), b.end(), [&](const TextPattern& other) { return one.overlaps(other); });
  });
}

std::string listed(const TextPatterns& patterns) {
  std::string text;
  for (const TextPattern& pattern : patterns) text += (text.empty() ? "" : " or ") + pattern.to_string();
  return text;
}

void append(std::string& text, std::string_view what, const std::string& values) {
  if (values.empty()) return;
  if (!text.empty()) text += ", ";
  text += std::string(what) + " " + values;
}

void append(std::string& text, std::string_view what, const std::vector<NamedPatterns>& all) {
  for (const NamedPatterns& entry : all) {
    append(text, what, "'" + entry.name + "' = " + listed(entry.patterns));
  }
}

}  // namespace

TextPattern TextPattern::parse(std::string_view notation) {
  if (notation.ends_with('*')) return {Kind::kPrefix, std::string(notation.substr(0, notation.size() - 1))};
  if (notation.starts_with('*')) return {Kind::kSuffix, std::string(notation.substr(1))};
  return {Kind::kExact, std::string(notation)};
}

bool TextPattern::fits(std::string_view value) const {
  switch (kind) {
    case Kind::kPrefix:
      return value.starts_with(text);
    case Kind::kSuffix:
      return value.ends_with(text);
    case Kind::kExact:
      break;
  }
  return value == text;
}

bool TextPattern::covers(const TextPattern& other) const {
  if (kind == Kind::kPrefix && text.empty()) return true;
  if (other.kind == Kind::kExact) return fits(other.text);
  return kind == other.kind && fits(other.text);
}

bool TextPattern::overlaps(const TextPattern& other) const {
  if (kind == Kind::kExact) return other.fits(text);
  if (other.kind == Kind::kExact) return fits(other.text);
  // A beginning and an end can always be joined; two beginnings, or two ends, must agree.
  return kind != other.kind || fits(other.text) || other.fits(text);
}

std::string TextPattern::to_string() const {
  switch (kind) {
    case Kind::kPrefix:
      return text + "*";
    case Kind::kSuffix:
      return "*" + text;
    case Kind::kExact:
      break;
  }
  return text;
}

bool fits_any(const TextPatterns& patterns, std::string_view value) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [value](const TextPattern& pattern) { return pattern.fits(value); });
}

bool RequestMatch::empty() const { return !needs_headers() && metadata.empty() && attribute.empty(); }

bool RequestMatch::needs_headers() const {
  return !authority.empty() || !path.empty() || !method.empty() || !header.empty();
}

bool RequestMatch::covers(const RequestMatch& other) const {
  return covers_all(authority, other.authority) && covers_all(path, other.path) &&
         covers_all(method, other.method) && covers_all(header, other.header) &&
         covers_all(metadata, other.metadata) && covers_all(attribute, other.attribute);
}

bool RequestMatch::excludes(const RequestMatch& other) const {
  // A header may come several times, so different values of it can fit both; so can an authority with its port.
  return excludes_all(path, other.path) || excludes_all(method, other.method);
}

std::string RequestMatch::to_string() const {
  std::string text;
  append(text, "metadata", metadata);
  append(text, "authority", listed(authority));
  append(text, "path", listed(path));
  append(text, "method", listed(method));
  append(text, "header", header);
  append(text, "attribute", attribute);
  return text;
}

std::string When::to_string() const {
  std::string text = request.to_string();
  std::string statuses;
  for (const StatusRange& range : status) {
    statuses += (statuses.empty() ? "" : " or ") + std::to_string(range.least);
    if (range.most != range.least) statuses += "-" + std::to_string(range.most);
  }
  append(text, "response status", statuses);
  append(text, "content type", listed(content_type));
  return text;
}

}  // namespace extprocd::config
