#include "core/engine/plugin_host.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace extprocd::engine {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

extproc_str abi(std::string_view text) { return {text.data(), text.size()}; }

class PluginHostTest : public testing::Test {
 protected:
  PluginHostTest() {
    entry_.name = "tenant";
    entry_.position = {7, 1};
    entry_.config.data = config::Value::Table{{"size", {int64_t{3}, {9, 8}}}, {"rate", {1.5, {10, 8}}}};
  }

  PluginHost& host() {
    if (!host_) host_ = std::make_unique<PluginHost>(entry_, "f.toml", "example.tenant-header", 1, registry_);
    return *host_;
  }
  template <typename Api>
  const Api& extension(const char* name) {
    return *static_cast<const Api*>(host().table()->get_extension(host().table(), name));
  }
  std::vector<std::string> errors() {
    std::vector<std::string> texts;
    for (const auto& error : host().finish_create()) texts.push_back(error.to_string());
    return texts;
  }

  config::Plugin entry_;
  telemetry::Registry registry_{2};
  std::unique_ptr<PluginHost> host_;
};

TEST_F(PluginHostTest, every_function_of_the_core_table_is_there) {
  const extproc_host& table = *host().table();
  EXPECT_EQ(table.struct_size, sizeof(extproc_host));
  for (const void* function :
       {reinterpret_cast<const void*>(table.get_extension), reinterpret_cast<const void*>(table.log_enabled),
        reinterpret_cast<const void*>(table.log), reinterpret_cast<const void*>(table.create_error),
        reinterpret_cast<const void*>(table.last_error), reinterpret_cast<const void*>(table.facts),
        reinterpret_cast<const void*>(table.headers), reinterpret_cast<const void*>(table.header_get),
        reinterpret_cast<const void*>(table.header_set), reinterpret_cast<const void*>(table.header_add),
        reinterpret_cast<const void*>(table.header_remove), reinterpret_cast<const void*>(table.body),
        reinterpret_cast<const void*>(table.replace_body), reinterpret_cast<const void*>(table.reply),
        reinterpret_cast<const void*>(table.fail), reinterpret_cast<const void*>(table.clear_route_cache)}) {
    EXPECT_NE(function, nullptr);
  }
  EXPECT_EQ(table.get_extension(&table, "extproc.nothing/1"), nullptr);
  EXPECT_EQ(table.get_extension(&table, nullptr), nullptr);
}

TEST_F(PluginHostTest, configuration_is_read_by_type_and_errors_carry_the_place) {
  const auto& config = extension<extproc_config_api>(EXTPROC_CONFIG_1);
  const auto* root = config.root(host().table());
  const auto* size = config.find(root, abi("size"));
  int64_t number = 0;
  double real = 0;
  extproc_str text{};
  EXPECT_EQ(config.get_integer(size, &number), EXTPROC_OK);
  EXPECT_EQ(number, 3);
  EXPECT_EQ(config.get_float(size, &real), EXTPROC_OK);
  EXPECT_EQ(real, 3.0);
  EXPECT_EQ(config.get_string(size, &text), EXTPROC_INVALID);
  EXPECT_EQ(config.get_string(nullptr, &text), EXTPROC_INVALID);
  EXPECT_EQ(config.find(root, abi("none")), nullptr);
  config.error(host().table(), size, abi("must be even"));
  host().table()->create_error(host().table(), abi("cannot"));
  EXPECT_THAT(errors(), ElementsAre("f.toml:9:8: plugin 'tenant': must be even",
                                    "f.toml:7:1: plugin 'tenant': cannot"));
}

TEST_F(PluginHostTest, keys_never_read_are_errors_unless_the_json_was_taken) {
  EXPECT_EQ(errors().size(), 2U);
  host_.reset();
  const auto& config = extension<extproc_config_api>(EXTPROC_CONFIG_1);
  const extproc_str json = config.json(host().table());
  EXPECT_EQ(std::string(json.data, json.size), R"({"size":3,"rate":1.5})");
  EXPECT_TRUE(errors().empty());
}

TEST_F(PluginHostTest, metrics_carry_the_plugins_id_and_name) {
  const auto& metrics = extension<extproc_metrics_api>(EXTPROC_METRICS_1);
  const extproc_header labels[] = {{abi("kind"), abi("a")}};
  extproc_metric* counter = metrics.counter(host().table(), abi("seen_total"), abi("Seen."), labels, 1);
  metrics.add(counter, 2);
  metrics.add(counter, -1);
  EXPECT_THAT(registry_.text(),
              HasSubstr(R"(extproc_plugin_example_tenant_header_seen_total{plugin="tenant",kind="a"} 2)"));
  EXPECT_EQ(metrics.gauge(host().table(), abi("seen_total"), abi("Seen."), labels, 1), nullptr);
  EXPECT_EQ(metrics.counter(host().table(), abi("bad name"), abi("Seen."), nullptr, 0), nullptr);
  metrics.add(nullptr, 1);
  metrics.set(counter, 5);
  metrics.observe(counter, 5);
  entry_.config = {};
  EXPECT_EQ(host().finish_create().size(), 2U);
}

}  // namespace
}  // namespace extprocd::engine
