#pragma once

#include <string>

namespace google::protobuf {
class Struct;
class Value;
}  // namespace google::protobuf

namespace extprocd::wire {

/// The text of a value as attributes.h describes it. Not a number and infinities are `nan`, `inf`, `-inf`.
[[nodiscard]] std::string to_text(const google::protobuf::Value& value);

/// The struct as JSON, keys sorted. Numbers that JSON does not have are null.
[[nodiscard]] std::string to_json(const google::protobuf::Struct& object);

}  // namespace extprocd::wire
