#include "core/http/mutation_rules.h"

#include <gtest/gtest.h>

namespace extprocd::http {
namespace {

bool allowed(const MutationRules& rules, MapKind map, Operation operation, std::string_view name,
             std::string_view value = "v", bool replacing = false) {
  return refusal(rules, map, operation, name, value, replacing).empty();
}

constexpr auto kRequest = MapKind::kRequestHeaders;
constexpr auto kResponse = MapKind::kResponseHeaders;

TEST(MutationRules, the_defaults_are_those_of_envoy) {
  const MutationRules rules;
  for (const auto* name : {"host", ":authority", ":scheme", ":method", "x-envoy-retry-on"}) {
    EXPECT_FALSE(allowed(rules, kRequest, Operation::kSet, name)) << name;
  }
  EXPECT_TRUE(allowed(rules, kRequest, Operation::kSet, ":path", "/new"));
  EXPECT_TRUE(allowed(rules, kRequest, Operation::kSet, "x-tenant"));
  EXPECT_TRUE(allowed(rules, kRequest, Operation::kRemove, "cookie"));
}

TEST(MutationRules, pseudo_headers_and_host_are_never_removed_and_pseudo_headers_never_added) {
  MutationRules rules;
  rules.allow_all_routing = true;
  EXPECT_FALSE(allowed(rules, kRequest, Operation::kRemove, ":path"));
  EXPECT_FALSE(allowed(rules, kRequest, Operation::kRemove, "host"));
  EXPECT_FALSE(allowed(rules, kRequest, Operation::kAdd, ":path"));
  EXPECT_TRUE(allowed(rules, kRequest, Operation::kSet, "host"));
  EXPECT_TRUE(allowed(rules, kRequest, Operation::kSet, ":method", "POST"));
}

TEST(MutationRules, a_grpc_data_plane_has_reserved_names) {
  for (const auto* name : {":path", ":status", "grpc-timeout", "grpc-", "host"}) {
    EXPECT_FALSE(grpc_refusal(name).empty()) << name;
  }
  for (const auto* name : {"grpc", "x-grpc-a", "hostname", "a"})
    EXPECT_TRUE(grpc_refusal(name).empty()) << name;
}

TEST(MutationRules, a_status_is_set_on_responses_only_and_from_200_on) {
  const MutationRules rules;
  EXPECT_TRUE(allowed(rules, kResponse, Operation::kSet, ":status", "503"));
  EXPECT_FALSE(allowed(rules, kResponse, Operation::kSet, ":status", "199"));
  EXPECT_FALSE(allowed(rules, kResponse, Operation::kSet, ":status", "abc"));
  EXPECT_FALSE(allowed(rules, kRequest, Operation::kSet, ":status", "200"));
  EXPECT_FALSE(allowed(rules, kResponse, Operation::kSet, ":path", "/"));
  EXPECT_FALSE(allowed(rules, MapKind::kResponseTrailers, Operation::kSet, ":status", "200"));
}

TEST(MutationRules, replacing_the_body_unlocks_the_method) {
  EXPECT_TRUE(allowed({}, kRequest, Operation::kSet, ":method", "POST", /*replacing=*/true));
  EXPECT_FALSE(allowed({}, kRequest, Operation::kSet, ":scheme", "http", /*replacing=*/true));
}

TEST(MutationRules, disallow_beats_allow_and_allow_beats_the_rest) {
  MutationRules rules;
  rules.disallow_all = true;
  rules.allow = {"x-*", "x-envoy-force"};
  rules.disallow = {"x-secret"};
  EXPECT_TRUE(allowed(rules, kRequest, Operation::kSet, "x-tenant"));
  EXPECT_TRUE(allowed(rules, kRequest, Operation::kSet, "x-envoy-force"));
  EXPECT_FALSE(allowed(rules, kRequest, Operation::kSet, "x-secret"));
  EXPECT_FALSE(allowed(rules, kRequest, Operation::kSet, "cookie"));
}

TEST(MutationRules, disallow_system_covers_pseudo_headers) {
  MutationRules rules;
  rules.disallow_system = true;
  EXPECT_FALSE(allowed(rules, kRequest, Operation::kSet, ":path", "/"));
  EXPECT_TRUE(allowed(rules, kRequest, Operation::kSet, "x"));
}

}  // namespace
}  // namespace extprocd::http
