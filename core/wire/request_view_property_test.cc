// RequestView agrees with protobuf's own classes on any input: what is taken and refused, and what is seen in
// it.

#include <cstdint>
#include <random>
#include <string>

#include "absl/strings/escaping.h"
#include "envoy/service/ext_proc/v3/external_processor.pb.h"
#include <google/protobuf/stubs/logging.h>
#include <gtest/gtest.h>

#include "core/wire/encoder.h"
#include "core/wire/view_oracle.h"

namespace extprocd::wire {
namespace {

using envoy::service::ext_proc::v3::ProcessingRequest;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

class RequestViewProperty : public testing::Test {
 protected:
  /// Random numbers that are the same everywhere.
  uint32_t below(uint32_t limit) { return static_cast<uint32_t>(random_() % limit); }
  bool one_in(uint32_t n) { return below(n) == 0; }

  std::string random_bytes(uint32_t max_size) {
    std::string bytes(below(max_size + 1), '\0');
    for (char& byte : bytes) byte = static_cast<char>(random_());
    return bytes;
  }
  std::string random_text() {
    static constexpr const char* kTexts[] = {
        "", "a", ":path", "x-header", "\xC3\xA9", "\xF0\x9F\x98\x80", "text-bin"};
    return kTexts[below(std::size(kTexts))];
  }
  uint64_t random_number() { return random_() >> below(64); }

  /// Fills in anything, by reflection.
  void fill(Message& message, int depth) {
    const Reflection& reflection = *message.GetReflection();
    for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
      const FieldDescriptor* field = message.GetDescriptor()->field(i);
      if (depth == 0 || !one_in(2)) continue;
      for (uint32_t n = field->is_repeated() ? below(4) : 1; n > 0; --n)
        fill_field(message, reflection, *field, depth);
    }
  }

  void fill_field(Message& message, const Reflection& reflection, const FieldDescriptor& field, int depth) {
    const bool repeated = field.is_repeated();
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_MESSAGE:
        fill(repeated ? *reflection.AddMessage(&message, &field)
                      : *reflection.MutableMessage(&message, &field),
             depth - 1);
        return;
      case FieldDescriptor::CPPTYPE_STRING: {
        const std::string value =
            field.type() == FieldDescriptor::TYPE_BYTES ? random_bytes(20) : random_text();
        return repeated ? reflection.AddString(&message, &field, value)
                        : reflection.SetString(&message, &field, value);
      }
      case FieldDescriptor::CPPTYPE_BOOL:
        return reflection.SetBool(&message, &field, one_in(2));
      case FieldDescriptor::CPPTYPE_INT64:
        return reflection.SetInt64(&message, &field, static_cast<int64_t>(random_number()));
      case FieldDescriptor::CPPTYPE_DOUBLE:
        return reflection.SetDouble(&message, &field, static_cast<double>(below(1000)));
      case FieldDescriptor::CPPTYPE_ENUM:
        return reflection.SetEnumValue(&message, &field, static_cast<int>(below(8)));
      default:
        FAIL() << field.full_name();
    }
  }

  std::string random_message() {
    ProcessingRequest request;
    fill(request, 7);
    return request.SerializeAsString();
  }

  /// A number in more bytes than it needs, at times in too many.
  std::string random_varint(uint64_t value) {
    std::string bytes;
    for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
    bytes += static_cast<char>(value);
    for (uint32_t surplus = one_in(12) ? 1 + below(10) : 0; surplus > 0; --surplus) {
      bytes.back() = static_cast<char>(bytes.back() | '\x80');
      bytes += static_cast<char>(one_in(8) ? below(128) : 0);
    }
    return bytes;
  }

  /// Fields such as the contract's and others, with any wire type, nested: mostly well-formed.
  std::string random_wire(int depth) {
    std::string bytes;
    for (uint32_t fields = below(6); fields > 0; --fields) {
      const uint32_t number = one_in(40) ? 0 : one_in(10) ? below(1U << 29) : 1 + below(depth == 5 ? 14 : 5);
      const uint32_t type = one_in(40) ? below(8) : one_in(6) ? below(4) : one_in(4) ? 0 : 2;
      bytes += random_varint(uint64_t{number} << 3 | type);
      if (type == 0) {
        bytes += random_varint(one_in(2) ? below(8) : random_number());
      } else if (type == 1) {
        bytes += "12345678";
      } else if (type == 2) {
        const std::string contents =
            depth == 0 || one_in(8) ? (one_in(4) ? random_bytes(6) : random_text()) : random_wire(depth - 1);
        bytes += random_varint(contents.size() + (one_in(60) ? 1 : 0)) + contents;
      } else if (type == 3) {
        if (depth > 0) bytes += random_wire(depth - 1);
        bytes += random_varint(uint64_t{one_in(20) ? number + 1 : number} << 3 | 4);
      } else if (type == 5) {
        bytes += "1234";
      }
    }
    return bytes;
  }

  std::string mutated(std::string bytes) {
    for (uint32_t changes = 1 + below(3); changes > 0; --changes) {
      const std::size_t at = below(static_cast<uint32_t>(bytes.size()) + 1);
      switch (below(6)) {
        case 0:
          bytes.resize(at);
          break;
        case 1:
          bytes.insert(at, 1, static_cast<char>(random_()));
          break;
        case 2:
          if (at < bytes.size()) bytes.erase(at, 1 + below(3));
          break;
        case 3:
          bytes.insert(at, bytes.substr(below(static_cast<uint32_t>(bytes.size()) + 1), below(30)));
          break;
        case 4:
          if (at < bytes.size()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
          break;
        default:
          if (at < bytes.size()) bytes[at] = static_cast<char>(random_());
      }
    }
    return bytes;
  }

  /// The property.
  void check(const std::string& bytes) {
    ASSERT_EQ(oracle_.disagreement(bytes), "") << absl::BytesToHexString(bytes);
  }

  /// A property that holds for lack of cases proves nothing.
  void expect_cases(int taken, int refused) const {
    EXPECT_GE(oracle_.taken(), taken);
    EXPECT_GE(oracle_.refused(), refused);
    EXPECT_EQ(oracle_.kinds(), 0x7FU) << "kinds that were seen";
  }

  std::mt19937_64 random_{20261124};
  const google::protobuf::LogSilencer silencer_;
  ViewOracle oracle_;
};

TEST_F(RequestViewProperty, WellFormedMessagesAreSeenAlike) {
  for (int i = 0; i < 3000 && !HasFatalFailure(); ++i) check(random_message());
  expect_cases(3000, 0);
}

TEST_F(RequestViewProperty, MessagesPutTogetherAreMergedAlike) {
  for (int i = 0; i < 3000 && !HasFatalFailure(); ++i)
    check(random_message() + random_message() + random_message());
  expect_cases(3000, 0);
}

TEST_F(RequestViewProperty, DamagedMessagesAreJudgedAlike) {
  for (int i = 0; i < 12000 && !HasFatalFailure(); ++i) check(mutated(random_message()));
  expect_cases(1500, 3000);
}

TEST_F(RequestViewProperty, EveryTruncationIsJudgedAlike) {
  for (int i = 0; i < 40; ++i) {
    const std::string message = random_message();
    for (std::size_t size = 0; size < message.size() && !HasFatalFailure(); ++size)
      check(message.substr(0, size));
  }
  EXPECT_GE(oracle_.refused(), 500);
}

TEST_F(RequestViewProperty, OddWireFormsAreReadAlike) {
  for (int i = 0; i < 20000 && !HasFatalFailure(); ++i) check(random_wire(5));
  expect_cases(4000, 2000);
}

TEST_F(RequestViewProperty, DamagedWireFormsAreReadAlike) {
  for (int i = 0; i < 20000 && !HasFatalFailure(); ++i) check(mutated(random_wire(5)));
  expect_cases(4000, 2000);
}

TEST_F(RequestViewProperty, NestingIsLimitedAlike) {
  for (const std::size_t submessages : {0, 1, 2, 3}) {  // request_headers, its HeaderMap, a HeaderValue
    for (std::size_t groups = 90; groups < 105; ++groups) {
      std::string message =
          std::string(groups, '\x7B') + std::string(groups, '\x7C');  // of the unknown field 15
      for (std::size_t i = 0; i < submessages; ++i) {
        Encoder outer;
        outer.put_bytes(i + 1 == submessages ? 2 : 1, message);
        message = outer.view();
      }
      check(message);
    }
  }
  EXPECT_GT(oracle_.taken(), 20);
  EXPECT_GT(oracle_.refused(), 10);
}

TEST_F(RequestViewProperty, RandomBytesAreJudgedAlike) {
  for (int i = 0; i < 20000 && !HasFatalFailure(); ++i) check(random_bytes(24));
  EXPECT_GE(oracle_.taken(), 50);
  EXPECT_GE(oracle_.refused(), 10000);
}

}  // namespace
}  // namespace extprocd::wire
