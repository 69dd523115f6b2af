// Any bytes: RequestView and protobuf's own classes must agree on them, and the readers of what it leaves unread must
// take them.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include <google/protobuf/stubs/logging.h>

#include "core/wire/attributes.h"
#include "core/wire/view_oracle.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  static google::protobuf::LogSilencer silencer;
  static extprocd::wire::ViewOracle oracle;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const std::string difference = oracle.disagreement(bytes); !difference.empty()) {
    std::fprintf(stderr, "%s\n", difference.c_str());
    std::abort();
  }
  extprocd::wire::RequestView view;
  if (view.parse(bytes).ok()) {
    extprocd::wire::AttributeReader attributes;
    (void)attributes.add(view.attributes());
    (void)attributes.get("a");
    extprocd::wire::MetadataReader metadata;
    metadata.update(view.metadata_context());
    (void)metadata.get("a", "a.b.c");
    (void)metadata.json("a");
  }
  return 0;
}
