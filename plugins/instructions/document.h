#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace instructions {

using Pairs = std::vector<std::pair<std::string, std::string>>;

/// What an instructions document asks for.
struct Document {
  Pairs add_headers;                        ///< to be set; in the order in which the names first appear
  std::vector<std::string> remove_headers;  ///< to be removed, before the others are set
  std::string set_body;                     ///< empty: leave the body alone
  Pairs set_trailers;
};

/// A document that is no JSON, or has a value of the wrong type. what() says what and where.
class BadDocument : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Reads a document as Go's encoding/json reads it into the sample server's struct: field names in any case,
/// unknown fields ignored, null as absent, a repeated addHeaders or setTrailers merged and other repeated
/// fields replaced, invalid UTF-8 and lone surrogates turned into U+FFFD. Empty text and a lone null ask for
/// nothing. Throws BadDocument.
Document parse(std::string_view text);

}  // namespace instructions
