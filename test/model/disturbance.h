#pragma once

#include <string>
#include <vector>

#include "test/model/random.h"

namespace extprocd::model {

/// Breaks a legal sequence of messages in one random way, which it returns by name. What only the server's lazy readers would
/// judge (bytes inside attributes and metadata, flow control) is left alone.
std::string disturb(std::vector<std::string>& messages, Random& random);

}  // namespace extprocd::model
