#include "core/engine/body_access.h"

#include <fstream>
#include <sstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/engine/engine_fixture.h"

namespace extprocd::engine {
namespace {

using testing::HasSubstr;
using wire::BodyMode;

constexpr std::size_t kModes = 7;  // the last one: not told

/// One cell of the table, tried: a plugin that takes all that its access allows.
class BodyAccessTest : public EngineFixture,
                       public testing::WithParamInterface<std::tuple<uint32_t, std::size_t, bool>> {
 protected:
  BodyAccessTest()
      : access_(std::get<0>(GetParam())),
        mode_(std::get<1>(GetParam()) + 1 < kModes
                  ? std::optional(static_cast<BodyMode>(std::get<1>(GetParam())))
                  : std::nullopt),
        trailers_(std::get<2>(GetParam())) {}

  void run() {
    BodyOptions options;
    options.access = access_;
    auto& plugin = add_plugin("p", {EXTPROC_REQUEST_BODY, EXTPROC_RESPONSE_HEADERS},
                              config::FailurePolicy::kFail, nullptr, nullptr, options);
    plugin.on_phase = [&](extproc_call* call, uint32_t phase, uint32_t flags) -> extproc_action {
      if (phase != EXTPROC_REQUEST_BODY) return EXTPROC_CONTINUE;
      const extproc_str* slices = nullptr;
      size_t count = 0;
      EXPECT_EQ(plugin.api().body(call, &slices, &count), EXTPROC_OK);
      seen_.clear();
      for (size_t i = 0; i < count; ++i) seen_ += std::string(slices[i].data, slices[i].size);
      calls_ += 1;
      partial_ = (flags & EXTPROC_PARTIAL_BODY) != 0;
      ended_ = (flags & EXTPROC_END_OF_BODY) != 0;
      return access_ == EXTPROC_ACCESS_STREAM && !ended_ ? EXTPROC_HOLD : EXTPROC_CONTINUE;
    };
    plugin.on_begin = [&](extproc_call*) -> extproc_action {
      begun_ = true;
      return EXTPROC_CONTINUE;
    };
    const std::string mode = mode_ ? "request_body_mode: " + std::string(to_string(*mode_)) : "";
    send("request_headers {} " + (mode_ ? "protocol_config { " + mode + " }" : ""));
    if (mode_ != BodyMode::kNone && !sink_.status) {
      // Cut off, where that is the mode's way.
      const bool end = !trailers_ && mode_ != BodyMode::kBufferedPartial;
      send("request_body { body: 'abc' " + std::string(end ? "end_of_stream: true" : "") + " }");
    }
    if (trailers_ && !sink_.status) send("request_trailers {}");
  }

  /// The body as it went on.
  std::string passed() const {
    std::string all;
    for (const auto& reply : sink_.replies) {
      const auto& mutation = reply.request_body().response().body_mutation();
      all += mutation.body() + mutation.streamed_response().body();
      if (reply.has_request_body() && !reply.request_body().has_response()) all += "abc";
    }
    return all;
  }

  const uint32_t access_;
  const std::optional<BodyMode> mode_;
  const bool trailers_;
  std::string seen_;
  int calls_ = 0;
  bool partial_ = false;
  bool ended_ = false;
  bool begun_ = false;
};

TEST_P(BodyAccessTest, what_the_table_says_is_what_happens) {
  run();
  const std::string failure = sink_.status ? std::string(sink_.status->message()) : "";
  switch (body_support(access_, mode_, trailers_)) {
    case BodySupport::kWorks:
      EXPECT_EQ(failure, "");
      EXPECT_GT(calls_, 0);
      EXPECT_TRUE(ended_);
      EXPECT_FALSE(partial_);
      EXPECT_EQ(passed(), "abc");
      break;
    case BodySupport::kSeesNothing:
      EXPECT_EQ(failure, "");
      EXPECT_EQ(calls_, 0);
      break;
    case BodySupport::kSeesFirstPart:
      EXPECT_EQ(failure, "");
      EXPECT_EQ(seen_, "abc");
      EXPECT_TRUE(partial_ && ended_);
      EXPECT_EQ(passed(), "abc");
      break;
    case BodySupport::kFailsIfHeld:
      EXPECT_EQ(calls_, access_ == EXTPROC_ACCESS_WHOLE ? 1 : 2);
      EXPECT_EQ(failure, undeliverable(wire::Direction::kRequest, mode_));
      break;
    case BodySupport::kRefused:
      EXPECT_FALSE(begun_);
      EXPECT_EQ(failure, body_refusal(access_, wire::Direction::kRequest, mode_));
      break;
  }
}

std::string cell_name(const testing::TestParamInfo<BodyAccessTest::ParamType>& test) {
  const std::size_t mode = std::get<1>(test.param);
  const bool told = mode + 1 < kModes;
  return std::string(access_name(std::get<0>(test.param))) + "_" +
         (told ? std::string(to_string(static_cast<BodyMode>(mode))) : "not_told") +
         (std::get<2>(test.param) ? "_trailers" : "");
}

INSTANTIATE_TEST_SUITE_P(Cells, BodyAccessTest,
                         testing::Combine(testing::Range<uint32_t>(EXTPROC_ACCESS_OBSERVE,
                                                                   EXTPROC_ACCESS_STREAM + 1),
                                          testing::Range<std::size_t>(0, kModes), testing::Bool()),
                         cell_name);

TEST(BodyAccess, the_documentation_has_the_table) {
  std::ifstream file(EXTPROCD_SOURCE_DIR "/docs/bodies.md");
  std::ostringstream text;
  text << file.rdbuf();
  EXPECT_THAT(text.str(), HasSubstr(body_support_table())) << "docs/bodies.md must hold this table:\n"
                                                           << body_support_table();
}

}  // namespace
}  // namespace extprocd::engine
