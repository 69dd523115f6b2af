// Our .proto files are the official contract in our own words: test/conformance/contract/ tells where the
// official table comes from.

#include <fstream>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "envoy/config/common/mutation_rules/v3/mutation_rules.pb.h"
#include "envoy/service/ext_proc/v3/external_processor.pb.h"
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

namespace extprocd::wire {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using google::protobuf::MethodDescriptor;
using google::protobuf::ServiceDescriptor;

using Lines = std::set<std::string>;

std::string type_name(const FieldDescriptor& field) {
  if (field.message_type() != nullptr) return field.message_type()->full_name();
  if (field.enum_type() != nullptr) return field.enum_type()->full_name();
  return field.type_name();
}

void add(const EnumDescriptor& type, Lines& lines) {
  for (int i = 0; i < type.value_count(); ++i) {
    lines.insert(
        absl::StrCat("value ", type.full_name(), " ", type.value(i)->name(), " ", type.value(i)->number()));
  }
}

void add(const Descriptor& type, Lines& lines) {
  const std::string& name = type.full_name();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    const auto* oneof = field.containing_oneof();
    lines.insert(absl::StrCat("field ", name, " ", field.name(), " ", field.number(), " ", type_name(field),
                              " ", field.is_repeated() ? "repeated" : "optional", " ",
                              oneof == nullptr ? "-" : oneof->name()));
  }
  for (int i = 0; i < type.reserved_range_count(); ++i) {
    const auto& range = *type.reserved_range(i);
    lines.insert(absl::StrCat("reserved ", name, " ", range.start, "..", range.end - 1));
  }
  for (int i = 0; i < type.reserved_name_count(); ++i) {
    lines.insert(absl::StrCat("reserved ", name, " ", type.reserved_name(i)));
  }
  for (int i = 0; i < type.nested_type_count(); ++i) add(*type.nested_type(i), lines);
  for (int i = 0; i < type.enum_type_count(); ++i) add(*type.enum_type(i), lines);
}

void add(const ServiceDescriptor& service, Lines& lines) {
  for (int i = 0; i < service.method_count(); ++i) {
    const MethodDescriptor& method = *service.method(i);
    lines.insert(
        absl::StrCat("method ", service.full_name(), " ", method.name(), " ",
                     method.client_streaming() ? "stream " : "unary ", method.input_type()->full_name(),
                     method.server_streaming() ? " stream " : " unary ", method.output_type()->full_name()));
  }
}

/// A file with the files that it imports, but not protobuf's own.
void add(const FileDescriptor& file, Lines& lines) {
  if (file.package() == "google.protobuf") return;
  for (int i = 0; i < file.message_type_count(); ++i) add(*file.message_type(i), lines);
  for (int i = 0; i < file.enum_type_count(); ++i) add(*file.enum_type(i), lines);
  for (int i = 0; i < file.service_count(); ++i) add(*file.service(i), lines);
  for (int i = 0; i < file.dependency_count(); ++i) add(*file.dependency(i), lines);
}

Lines our_contract() {
  Lines lines;
  add(*envoy::service::ext_proc::v3::ProcessingRequest::descriptor()->file(), lines);
  add(*envoy::config::common::mutation_rules::v3::HeaderMutationRules::descriptor()->file(), lines);
  return lines;
}

Lines official_contract() {
  Lines lines;
  std::ifstream file(EXTPROCD_OFFICIAL_CONTRACT);
  for (std::string line; std::getline(file, line);) lines.insert(line);
  return lines;
}

Lines missing_from(const Lines& lines, const Lines& wanted) {
  Lines missing;
  std::ranges::set_difference(wanted, lines, std::inserter(missing, missing.end()));
  return missing;
}

TEST(Contract, EverythingOfOursIsInTheOfficialContract) {
  EXPECT_THAT(missing_from(official_contract(), our_contract()), testing::IsEmpty());
}

TEST(Contract, EverythingOfficialIsInOurs) {
  ASSERT_GT(official_contract().size(), 150U);
  EXPECT_THAT(missing_from(our_contract(), official_contract()), testing::IsEmpty());
}

}  // namespace
}  // namespace extprocd::wire
