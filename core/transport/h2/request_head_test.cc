#include "core/transport/h2/request_head.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace extprocd::transport::h2 {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

TEST(RequestHead, keeps_what_the_transport_reads_apart_from_the_metadata) {
  RequestHead head(65536);
  head.add(":method", "POST");
  head.add(":scheme", "http");
  head.add(":path", "/a.B/C");
  head.add(":authority", "a.test");
  head.add("te", "trailers");
  head.add("content-type", "application/grpc+proto");
  head.add("grpc-timeout", "1S");
  head.add("grpc-encoding", "gzip");
  head.add("grpc-accept-encoding", "identity");
  head.add("user-agent", "test");
  head.add("x-a", "1");
  head.add("x-a", "");
  head.complete();
  EXPECT_EQ(head.method(), "POST");
  EXPECT_EQ(head.path(), "/a.B/C");
  EXPECT_EQ(head.content_type(), "application/grpc+proto");
  EXPECT_EQ(head.timeout(), "1S");
  EXPECT_EQ(head.encoding(), "gzip");
  EXPECT_EQ(head.malformed(), "");
  EXPECT_THAT(head.metadata(), ElementsAre(Pair("user-agent", "test"), Pair("x-a", "1"), Pair("x-a", "")));
}

TEST(RequestHead, hands_on_names_that_only_look_like_its_own) {
  RequestHead head(65536);
  const std::vector<std::string> names = {"xpath", "x-metho", "x-content-ty", "grp-encoding1",
                                          "grpcx", "t",       "te2"};
  for (const std::string& name : names) head.add(name, "v");
  head.complete();
  ASSERT_EQ(head.metadata().size(), names.size());
  for (std::size_t i = 0; i < names.size(); ++i) EXPECT_EQ(head.metadata()[i].first, names[i]);
  EXPECT_THAT(head.path(), IsEmpty());
  EXPECT_THAT(head.method(), IsEmpty());
  EXPECT_THAT(head.content_type(), IsEmpty());
  EXPECT_THAT(head.timeout(), IsEmpty());
  EXPECT_THAT(head.encoding(), IsEmpty());
}

TEST(RequestHead, decodes_binary_values_one_by_one) {
  RequestHead head(65536);
  head.add("a-bin", "YQ==,Yg,,AA==");
  head.add("b-bin", "");
  head.complete();
  EXPECT_THAT(head.metadata(), ElementsAre(Pair("a-bin", "a"), Pair("a-bin", "b"), Pair("a-bin", ""),
                                           Pair("a-bin", std::string_view("\0", 1)), Pair("b-bin", "")));
  EXPECT_EQ(head.malformed(), "");
}

TEST(RequestHead, names_a_binary_value_that_is_none) {
  RequestHead head(65536);
  head.add("good-bin", "YQ==");
  head.add("bad-bin", "YQ==,%");
  head.complete();
  EXPECT_EQ(head.malformed(), "bad-bin");
}

TEST(RequestHead, counts_the_list_as_http2_does) {
  // Four letters and 32 bytes that each entry costs.
  RequestHead fits(36);
  fits.add("x-a", "1");
  EXPECT_FALSE(fits.is_too_large());
  RequestHead does_not(35);
  does_not.add("x-a", "1");
  EXPECT_TRUE(does_not.is_too_large());
}

TEST(RequestHead, keeps_nothing_beyond_the_limit_and_counts_on) {
  RequestHead head(100);
  head.add("x-a", "1");
  head.add("x-b", std::string(1000, 'x'));
  head.add("x-c", "1");
  head.complete();
  EXPECT_TRUE(head.is_too_large());
  EXPECT_THAT(head.metadata(), ElementsAre(Pair("x-a", "1")));
}

TEST(RequestHead, begins_anew_when_cleared) {
  RequestHead head(200);
  head.add(":path", "/a");
  head.add(":method", "GET");
  head.add("content-type", "a");
  head.add("bad-bin", "%");
  head.complete();
  head.clear();
  head.add("x-a", "1");
  head.complete();
  EXPECT_FALSE(head.is_too_large());
  EXPECT_THAT(head.metadata(), ElementsAre(Pair("x-a", "1")));
  EXPECT_THAT(head.path(), IsEmpty());
  EXPECT_THAT(head.method(), IsEmpty());
  EXPECT_THAT(head.content_type(), IsEmpty());
  EXPECT_THAT(head.malformed(), IsEmpty());
}

TEST(RequestHead, survives_that_its_memory_moves) {
  RequestHead head(1 << 20);
  for (int i = 0; i < 1000; ++i)
    head.add("x-" + std::to_string(i), std::string(100, static_cast<char>('a' + i % 26)));
  head.complete();
  ASSERT_EQ(head.metadata().size(), 1000U);
  for (int i = 0; i < 1000; ++i) {
    const auto& [name, value] = head.metadata()[static_cast<std::size_t>(i)];
    EXPECT_EQ(name, "x-" + std::to_string(i));
    EXPECT_EQ(value, std::string(100, static_cast<char>('a' + i % 26)));
  }
}

}  // namespace
}  // namespace extprocd::transport::h2
