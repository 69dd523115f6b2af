// Properties of the engine, against the model of Envoy and a plain reference, over many random cases. The environment
// chooses others: EXTPROCD_PROPERTY_CASES (how many), EXTPROCD_PROPERTY_SEED (of the first) and EXTPROCD_PROPERTY_SIZE
// (of all; otherwise growing, so that the first case that fails is a small one).

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include <google/protobuf/stubs/logging.h>
#include <gtest/gtest.h>

#include "core/telemetry/log.h"
#include "test/model/conversation.h"
#include "test/model/disturbance.h"

namespace extprocd::model {
namespace {

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

/// What is wrong with a case; empty if nothing is.
struct Finding {
  std::string wrong;
  std::string transcript;
};
using Property = std::function<Finding(const Case&, Coverage&)>;
using Maker = std::function<Case(std::uint64_t seed, std::size_t size)>;

/// The smallest case that still fails, as far as leaving things out one by one leads.
Case shrink(Case a_case, const Property& property) {
  Coverage unused;
  for (int rounds = 0; rounds < 300; ++rounds) {
    const std::vector<Case> smaller = reductions(a_case);
    const auto fails = [&](const Case& one) { return !property(one, unused).wrong.empty(); };
    const auto found = std::ranges::find_if(smaller, fails);
    if (found == smaller.end()) break;
    a_case = *found;
  }
  return a_case;
}

void check(const Property& property, std::uint64_t cases, Coverage& coverage,
           const Maker& make = random_case) {
  constexpr std::uint64_t kLargest = 8;
  const std::uint64_t first = from_environment("EXTPROCD_PROPERTY_SEED", 1);
  cases = from_environment("EXTPROCD_PROPERTY_CASES", cases);
  const std::uint64_t size = from_environment("EXTPROCD_PROPERTY_SIZE", 0);
  for (std::uint64_t i = 0; i < cases; ++i) {
    const std::uint64_t size_here = size != 0 ? size : 1 + i * kLargest / cases;
    const Case a_case = make(first + i, size_here);
    if (property(a_case, coverage).wrong.empty()) continue;
    const Case small = shrink(a_case, property);
    Coverage unused;
    const Finding finding = property(small, unused);
    FAIL() << "a case that fails; EXTPROCD_PROPERTY_SEED=" << first + i
           << " EXTPROCD_PROPERTY_SIZE=" << size_here
           << " EXTPROCD_PROPERTY_CASES=1 repeats it. Made smaller:\n"
           << to_string(small) << finding.transcript << "wrong: " << finding.wrong;
  }
}

/// What the cases met, if the environment asks for it.
void print(const Coverage& coverage) {
  if (std::getenv("EXTPROCD_PROPERTY_COVERAGE") != nullptr) std::cout << coverage.text();
}

/// Were all of these met so often? Only where the number of cases was not chosen by hand.
void expect_seen(const Coverage& coverage, const std::vector<std::string>& names, std::size_t least) {
  if (std::getenv("EXTPROCD_PROPERTY_CASES") != nullptr) return;
  for (const auto& name : names) {
    EXPECT_GE(coverage.count(name), least) << "too few cases of: " << name << "\n" << coverage.text();
  }
}

class PropertyTest : public testing::Test {
 protected:
  // Plugins fail by the thousand, and messages are unreadable on purpose.
  PropertyTest() { telemetry::init_log("off", "text"); }
  google::protobuf::LogSilencer silencer_;
};

Finding converse(const Case& a_case, Coverage& coverage) {
  PlannedChain chain(a_case.plugins, a_case.setup);
  Conversation conversation(a_case, chain, 1, coverage);
  while (conversation.step()) {
  }
  conversation.finish();
  std::string wrong = conversation.wrong();
  if (wrong.empty()) wrong = chain.leftovers();
  if (wrong.empty() && chain.ignored_resumes() != conversation.ignored_resumes())
    wrong = "another number of resumes counts as ignored";
  return {wrong, conversation.transcript()};
}

TEST_F(PropertyTest,
       legal_conversations_get_exactly_the_replies_owed_and_what_arrives_is_what_plugins_made_of_it) {
  Coverage coverage;
  check(converse, 12000, coverage);
  print(coverage);
  if (HasFatalFailure()) return;

  std::vector<std::string> modes;
  const std::vector<std::string> old = {"NONE", "STREAMED", "BUFFERED", "BUFFERED_PARTIAL"};
  std::vector<std::string> all = old;
  all.emplace_back("FULL_DUPLEX_STREAMED");
  for (const auto& request : all) {
    for (const auto& response : all) modes.push_back("modes " + request + "/" + response);
  }
  for (const auto& request : old) {
    for (const auto& response : old) {
      modes.push_back("old modes " + request + "/" + response);
      modes.push_back("observability modes " + request + "/" + response);
    }
  }
  for (const auto* kind : {"gRPC ", "gRPC with windows "}) {
    for (const auto* pair : {"NONE/GRPC", "GRPC/NONE", "GRPC/GRPC"})
      modes.push_back(kind + std::string("modes ") + pair);
  }
  modes.emplace_back("gRPC with windows modes FULL_DUPLEX_STREAMED/FULL_DUPLEX_STREAMED");
  expect_seen(coverage, modes, 20);

  std::vector<std::string> bodies;
  for (const auto* access : {"observe", "edit_chunk", "whole", "stream"}) {
    for (const auto& mode : all) {
      for (const auto* trailers : {" with trailers", " without trailers"}) {
        bodies.push_back("body " + std::string(access) + " " + mode + trailers);
      }
      const bool called = mode != "NONE";
      if (called) bodies.push_back("called with access " + std::string(access) + " in " + mode);
    }
  }
  for (const auto* access : {"observe", "edit_chunk", "stream"}) {
    bodies.push_back("body " + std::string(access) + " GRPC with trailers");
    bodies.push_back("called with access " + std::string(access) + " in GRPC");
  }
  expect_seen(coverage, bodies, 20);
  expect_seen(coverage,
              {"held by whole", "held by stream", "headers wait for the body",
               "trailers tell the end of the body", "bytes that nothing carries", "access refused",
               "held where nothing can be", "too large a body", "too large a body, too late", "ended early",
               "reply clear_body", "reply body", "reply to a body with a header mutation"},
              20);

  expect_seen(
      coverage,
      {"reply request_headers", "reply request_body", "reply request_trailers", "reply response_headers",
       "reply response_body", "reply response_trailers", "reply immediate", "reply streamed_response",
       "reply streamed_response with end_of_stream", "reply streamed_response in pieces",
       "reply window update", "reply CONTINUE_AND_REPLACE", "reply clear_route_cache", "reply with metadata"},
      20);
  expect_seen(
      coverage,
      {"policy fail", "policy deny", "policy deny too late", "policy skip", "outcome finish", "outcome reply",
       "outcome fail", "outcome throw", "outcome reply without", "outcome unknown action",
       "outcome fails to begin", "reply() answers 0", "reply() answers 3", "reply() answers 4",
       "local reply heard", "local reply failed", "changes taken back", "message of a replaced direction"},
      20);
  expect_seen(coverage,
              {"cut half-close", "cut cancel", "cut shutdown", "bodies without waiting", "upgrade",
               "local reply", "plugins 0", "plugins 1", "plugins 2", "plugins 3", "arrived request trailers",
               "arrived response trailers", "window given back", "immediate response arrived", "end OK",
               "end INTERNAL"},
              20);
}

Case waiting_case(std::uint64_t seed, std::size_t size) {
  return with_waits(random_case(seed, size), seed, size);
}

TEST_F(PropertyTest, plugins_that_wait_change_no_reply_and_get_each_callback_that_they_are_owed) {
  Coverage coverage;
  check(converse, 12000, coverage, waiting_case);
  print(coverage);
  if (HasFatalFailure()) return;
  std::vector<std::string> waits;
  for (std::uint32_t phase = 0; phase < EXTPROC_LOCAL_REPLY; ++phase)
    waits.push_back("waited in " + phase_name(phase));
  expect_seen(coverage, waits, 100);
  expect_seen(coverage,
              {"resumed",
               "resumed by its timer",
               "timer of a wait that is resumed already",
               "resumed twice",
               "resumed too late",
               "resume overtaken by the end of the wait",
               "timeout of the plugin",
               "deadline of the chain",
               "too late without waiting",
               "more time asked for",
               "more time asked for by a plugin",
               "suspension forgotten",
               "cancelled while it waited",
               "nobody came for who waits",
               "outcome suspend without",
               "policy fail",
               "policy deny",
               "policy deny too late",
               "policy skip",
               "reply immediate",
               "headers wait for the body",
               "bytes that nothing carries",
               "held by stream",
               "changes taken back",
               "ended early",
               "end DEADLINE_EXCEEDED"},
              50);
}

/// A stream whose messages are broken, and a legal conversation beside it through the same chain.
Finding disturb_one_of_two(const Case& a_case, Coverage& coverage) {
  Case legal = a_case;
  legal.cut = Case::Cut::kNone;
  if (legal.settings.windows) {
    legal.settings.windows.reset();
    const auto& sides = legal.settings.sides;
    legal.settings.grpc_data_plane =
        sides[0].body == ProcessingMode::GRPC || sides[1].body == ProcessingMode::GRPC;
  }
  Coverage unused;
  std::vector<std::string> messages;
  {
    PlannedChain chain(legal.plugins, legal.setup);
    Conversation recorded(legal, chain, 1, unused);
    while (recorded.step()) {
    }
    messages = recorded.messages();
  }

  Random random(a_case.schedule);
  for (std::size_t i = random.between(1, 2); i > 0; --i)
    coverage.saw("disturbed: " + disturb(messages, random));
  PlannedChain chain(legal.plugins, legal.setup);
  CheckedStream victim(chain, 1, false, coverage);
  legal.schedule += 1;
  Conversation neighbour(legal, chain, 2, unused);
  bool outlived = false;
  auto next = messages.begin();
  bool goes_on = true;
  while (victim.wrong().empty() && (goes_on || next != messages.end())) {
    if (next != messages.end() && (!goes_on || random.one_in(2))) {
      if (victim.weight() > 0 && (victim.waits() || random.one_in(2))) {
        victim.happen(random);
      } else if (victim.waits()) {
        next = messages.end();  // for ever
      } else {
        victim.receive(*next++);
      }
    } else {
      goes_on = neighbour.step();
      outlived = outlived || (goes_on && victim.status());
    }
  }
  if (victim.waits() || random.one_in(3)) {
    victim.cancel(engine::Cancel::kPeer);
  } else {
    victim.half_close();
  }
  victim.destroy();
  if (!victim.wrong().empty()) return {victim.wrong(), "  the disturbed stream:\n" + victim.transcript()};
  neighbour.finish();
  if (outlived) coverage.saw("neighbour went on");
  return {neighbour.wrong(), "  the neighbour:\n" + neighbour.transcript()};
}

TEST_F(PropertyTest, broken_sequences_end_their_own_stream_with_invalid_argument_and_no_other) {
  Coverage coverage;
  check(disturb_one_of_two, 4000, coverage);
  print(coverage);
  if (HasFatalFailure()) return;
  expect_seen(coverage,
              {"disturbed: duplicate", "disturbed: out of order", "disturbed: missing",
               "disturbed: after the end", "disturbed: empty", "disturbed: truncated",
               "disturbed: flipped bit", "disturbed: garbage", "protocol error: unreadable",
               "protocol error: out of order", "end INVALID_ARGUMENT", "neighbour went on"},
              100);
}

TEST_F(PropertyTest, broken_sequences_harm_no_other_stream_when_plugins_wait) {
  Coverage coverage;
  check(disturb_one_of_two, 3000, coverage, waiting_case);
  print(coverage);
  if (HasFatalFailure()) return;
  expect_seen(coverage,
              {"protocol error: unreadable", "protocol error: out of order", "end INVALID_ARGUMENT",
               "neighbour went on", "resumed", "timeout of the plugin", "cancelled while it waited"},
              50);
}

}  // namespace
}  // namespace extprocd::model
