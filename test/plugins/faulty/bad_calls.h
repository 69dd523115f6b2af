#pragma once

#include <string_view>
#include <vector>

#include "faults.h"

namespace faulty {

/// Calls the host with null pointers, absurd sizes and numbers that mean nothing; which of them it did not refuse. A
/// pointer to memory that is not there is not among them: that is no host's to survive.
std::vector<std::string_view> make_bad_calls(const Turn& turn);

}  // namespace faulty
