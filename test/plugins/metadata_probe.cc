// Does with attributes and metadata what headers of the request and of the response tell it, each with one order or
// several, separated by "; ":
//
//   show: attribute NAME | metadata NS [KEY] | typed NS     what it sees, in the header `seen`
//   set: NS KEY JSON
//   set-typed: NS TYPE_URL HEX
//   remove: NS [KEY]
#include <cstdio>
#include <string>
#include <string_view>

#include <extproc/plugin.hpp>

namespace {

/// The next word of a text, which is taken off it.
std::string_view next_word(std::string_view& text) {
  const std::string_view word = text.substr(0, text.find(' '));
  text.remove_prefix(word.size() == text.size() ? word.size() : word.size() + 1);
  return word;
}

std::string shown(const extproc::Value& value) {
  std::string text;
  switch (value.type()) {
    case extproc::ValueType::kBool:
      return *value.as_bool() ? "true" : "false";
    case extproc::ValueType::kNumber: {
      char digits[32];
      std::snprintf(digits, sizeof digits, "%.17g", *value.as_number());
      return digits;
    }
    case extproc::ValueType::kString:
      return "'" + std::string(*value.as_string()) + "'";
    case extproc::ValueType::kList:
      for (const auto& entry : value) text += (text.empty() ? "" : ", ") + shown(entry.value);
      return "[" + text + "]";
    case extproc::ValueType::kStruct:
      for (const auto& [key, member] : value) {
        text += (text.empty() ? "" : ", ") + std::string(key) + ": " + shown(member);
      }
      return "{" + text + "}";
    default:
      return "null";
  }
}

int digit_of(char c) { return c >= 'a' ? c - 'a' + 10 : c - '0'; }

std::string from_hex(std::string_view hex) {
  std::string bytes;
  for (; hex.size() >= 2; hex.remove_prefix(2)) {
    bytes += static_cast<char>(digit_of(hex[0]) * 16 + digit_of(hex[1]));
  }
  return bytes;
}

std::string to_hex(std::string_view bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string hex;
  for (const char c : bytes) {
    hex += kDigits[static_cast<unsigned char>(c) >> 4];
    hex += kDigits[static_cast<unsigned char>(c) & 0xf];
  }
  return hex;
}

class MetadataProbe : public extproc::Plugin {
 public:
  MetadataProbe(const extproc::Config&, extproc::Host&) {}

  struct Stream : extproc::Stream<MetadataProbe> {
    using extproc::Stream<MetadataProbe>::Stream;

    extproc::Action on_request_headers(extproc::HeaderMap& headers, extproc::EndOfStream) override {
      obey(headers);
      return extproc::proceed();
    }
    extproc::Action on_response_headers(extproc::HeaderMap& headers, extproc::EndOfStream) override {
      obey(headers);
      return extproc::proceed();
    }

   private:
    void obey(extproc::HeaderMap& headers) {
      for_each(headers, "set", [this](std::string_view order) {
        const std::string_view name_space = next_word(order);
        const std::string_view key = next_word(order);
        set_dynamic_metadata(name_space, key, extproc::Json{order});
      });
      for_each(headers, "set-typed", [this](std::string_view order) {
        const std::string_view name_space = next_word(order);
        const std::string_view type_url = next_word(order);
        set_typed_dynamic_metadata(name_space, type_url, from_hex(order));
      });
      for_each(headers, "remove", [this](std::string_view order) {
        const std::string_view name_space = next_word(order);
        remove_dynamic_metadata(name_space, order);
      });
      std::string seen;
      for_each(headers, "show",
               [&](std::string_view order) { seen += (seen.empty() ? "" : "; ") + look(order); });
      if (!seen.empty()) headers.set("seen", seen);
    }

    /// The orders of a header, which are separated by "; ".
    template <typename Obey>
    static void for_each(const extproc::HeaderMap& headers, std::string_view name, Obey obey) {
      for (std::string_view orders : headers.all(name)) {
        while (!orders.empty()) {
          const std::string_view order = orders.substr(0, orders.find("; "));
          orders.remove_prefix(order.size() == orders.size() ? order.size() : order.size() + 2);
          obey(order);
        }
      }
    }

    std::string look(std::string_view order) const {
      const std::string_view kind = next_word(order);
      const std::string_view name = next_word(order);
      if (kind == "typed") {
        const auto typed = typed_metadata(name);
        return typed ? std::string(typed->type_url) + "=" + to_hex(typed->message) : "absent";
      }
      const auto value = kind == "attribute" ? attribute_value(name) : metadata_value(name, order);
      return value ? shown(*value) : "absent";
    }
  };
};

}  // namespace

EXTPROC_EXPORT_PLUGIN(MetadataProbe, "test.metadata-probe", "1.0.0")
