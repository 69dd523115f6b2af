#include "core/engine/chain_table.h"

#include <utility>

#include "core/engine/matching.h"
#include "core/http/utf8.h"

namespace extprocd::engine {

Chain& ChainTable::add(std::unique_ptr<Chain> chain, std::optional<config::RequestMatch> match,
                       telemetry::Counter* streams) {
  if (!match) {
    default_ = entries_.size();
    known_.push_back({config::TextPattern::Kind::kExact, chain->name()});
  } else {
    for (const config::NamedPatterns& wanted : match->metadata) {
      if (wanted.name != kChainMetadata) continue;
      known_.insert(known_.end(), wanted.patterns.begin(), wanted.patterns.end());
    }
  }
  return *entries_.emplace_back(std::move(chain), std::move(match), streams).chain;
}

bool ChainTable::names_unknown_chain(const Exchange& exchange) const {
  std::size_t named = 0;
  for (std::size_t i = 0; i < exchange.facts.metadata_count; ++i) {
    const extproc_header& entry = exchange.facts.metadata[i];
    if (std::string_view(entry.name.data, entry.name.size) != kChainMetadata) continue;
    // Named twice, nobody can tell which was meant.
    if (++named > 1 || !fits_any(known_, {entry.value.data, entry.value.size})) return true;
  }
  return false;
}

const ChainTable::Entry* ChainTable::choose(Exchange& exchange) const {
  if (names_unknown_chain(exchange)) return nullptr;
  for (const Entry& entry : entries_) {
    if (entry.match && fits(*entry.match, exchange)) return &entry;
  }
  return &entries_[default_];
}

std::string ChainTable::report_unknown(const Exchange& exchange) const {
  constexpr std::size_t kMost = 256;  // of what came, and of what is known
  std::string named;
  for (std::size_t i = 0; i < exchange.facts.metadata_count; ++i) {
    const extproc_header& entry = exchange.facts.metadata[i];
    if (std::string_view(entry.name.data, entry.name.size) != kChainMetadata) continue;
    named += (named.empty() ? "'" : " and '") +
             std::string(entry.value.data, entry.value.size).substr(0, kMost) + "'";
    if (named.size() > kMost) break;
  }
  std::string known;
  for (const config::TextPattern& name : known_) {
    if (known.size() > kMost) {
      known += ", ...";
      break;
    }
    known += (known.empty() ? "'" : ", '") + name.to_string() + "'";
  }
  std::string text = http::repair_utf8("gRPC metadata " + std::string(kChainMetadata) + " names " + named +
                                       ", which is no chain here; known: " + known);
  if (log_limit_.allow()) telemetry::log(telemetry::Level::kWarn, "engine", text);
  return text;
}

}  // namespace extprocd::engine
