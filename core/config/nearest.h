#pragma once

#include <span>
#include <string>
#include <string_view>

namespace extprocd::config {

/// The candidate that a misspelt word most likely means; empty if none is near.
std::string_view nearest(std::string_view word, std::span<const std::string> candidates);

}  // namespace extprocd::config
