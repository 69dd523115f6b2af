// The layout of the binary contract on 64-bit machines. It never changes for what has been released: a field
// is only ever appended, so a line here is only ever added. All of it is checked by the compiler.

#include <cstddef>

#include <extproc/abi.h>
#include <gtest/gtest.h>

static_assert(sizeof(void*) == 8 && sizeof(size_t) == 8, "the offsets below are those of 64-bit machines");

#define AT(type, field, offset) \
  static_assert(offsetof(type, field) == (offset), #type "::" #field " has moved")
#define SIZE(type, size, align) \
  static_assert(sizeof(type) == (size) && alignof(type) == (align), #type " has another size or alignment")

SIZE(extproc_str, 16, 8);
AT(extproc_str, data, 0);
AT(extproc_str, size, 8);

SIZE(extproc_header, 32, 8);
AT(extproc_header, name, 0);
AT(extproc_header, value, 16);

SIZE(extproc_stream_facts, 72, 8);
AT(extproc_stream_facts, struct_size, 0);
AT(extproc_stream_facts, observability, 4);
AT(extproc_stream_facts, id, 8);
AT(extproc_stream_facts, peer, 16);
AT(extproc_stream_facts, chain, 32);
AT(extproc_stream_facts, request_body_mode, 48);
AT(extproc_stream_facts, response_body_mode, 52);
AT(extproc_stream_facts, metadata, 56);
AT(extproc_stream_facts, metadata_count, 64);

SIZE(extproc_reply, 64, 8);
AT(extproc_reply, struct_size, 0);
AT(extproc_reply, status, 4);
AT(extproc_reply, headers, 8);
AT(extproc_reply, headers_count, 16);
AT(extproc_reply, body, 24);
AT(extproc_reply, details, 40);
AT(extproc_reply, grpc_status, 56);
AT(extproc_reply, reserved, 60);

SIZE(extproc_stream_end, 32, 8);
AT(extproc_stream_end, struct_size, 0);
AT(extproc_stream_end, reason, 4);
AT(extproc_stream_end, grpc_status, 8);
AT(extproc_stream_end, response_status, 12);
AT(extproc_stream_end, duration_ns, 16);
AT(extproc_stream_end, plugin_duration_ns, 24);

SIZE(extproc_host, 168, 8);
AT(extproc_host, struct_size, 0);
AT(extproc_host, abi_major, 4);
AT(extproc_host, abi_minor, 6);
AT(extproc_host, version, 8);
AT(extproc_host, plugin_name, 24);
AT(extproc_host, get_extension, 40);
AT(extproc_host, log_enabled, 48);
AT(extproc_host, log, 56);
AT(extproc_host, create_error, 64);
AT(extproc_host, last_error, 72);
AT(extproc_host, facts, 80);
AT(extproc_host, headers, 88);
AT(extproc_host, header_get, 96);
AT(extproc_host, header_set, 104);
AT(extproc_host, header_add, 112);
AT(extproc_host, header_remove, 120);
AT(extproc_host, body, 128);
AT(extproc_host, replace_body, 136);
AT(extproc_host, reply, 144);
AT(extproc_host, fail, 152);
AT(extproc_host, clear_route_cache, 160);

SIZE(extproc_config_api, 96, 8);
AT(extproc_config_api, struct_size, 0);
AT(extproc_config_api, reserved, 4);
AT(extproc_config_api, root, 8);
AT(extproc_config_api, find, 16);
AT(extproc_config_api, type, 24);
AT(extproc_config_api, size, 32);
AT(extproc_config_api, at, 40);
AT(extproc_config_api, get_bool, 48);
AT(extproc_config_api, get_integer, 56);
AT(extproc_config_api, get_float, 64);
AT(extproc_config_api, get_string, 72);
AT(extproc_config_api, error, 80);
AT(extproc_config_api, json, 88);

SIZE(extproc_metrics_api, 56, 8);
AT(extproc_metrics_api, struct_size, 0);
AT(extproc_metrics_api, reserved, 4);
AT(extproc_metrics_api, counter, 8);
AT(extproc_metrics_api, gauge, 16);
AT(extproc_metrics_api, histogram, 24);
AT(extproc_metrics_api, add, 32);
AT(extproc_metrics_api, set, 40);
AT(extproc_metrics_api, observe, 48);

SIZE(extproc_metadata_api, 48, 8);
AT(extproc_metadata_api, struct_size, 0);
AT(extproc_metadata_api, reserved, 4);
AT(extproc_metadata_api, attribute, 8);
AT(extproc_metadata_api, metadata, 16);
AT(extproc_metadata_api, set_string, 24);
AT(extproc_metadata_api, set_number, 32);
AT(extproc_metadata_api, set_bool, 40);

SIZE(extproc_metadata_api_2, 112, 8);
AT(extproc_metadata_api_2, struct_size, 0);
AT(extproc_metadata_api_2, reserved, 4);
AT(extproc_metadata_api_2, attribute, 8);
AT(extproc_metadata_api_2, metadata, 16);
AT(extproc_metadata_api_2, typed_metadata, 24);
AT(extproc_metadata_api_2, type, 32);
AT(extproc_metadata_api_2, get_bool, 40);
AT(extproc_metadata_api_2, get_number, 48);
AT(extproc_metadata_api_2, get_string, 56);
AT(extproc_metadata_api_2, size, 64);
AT(extproc_metadata_api_2, at, 72);
AT(extproc_metadata_api_2, find, 80);
AT(extproc_metadata_api_2, set_json, 88);
AT(extproc_metadata_api_2, set_typed, 96);
AT(extproc_metadata_api_2, remove, 104);

SIZE(extproc_store_api, 32, 8);
AT(extproc_store_api, struct_size, 0);
AT(extproc_store_api, reserved, 4);
AT(extproc_store_api, get, 8);
AT(extproc_store_api, set, 16);
AT(extproc_store_api, remove, 24);

SIZE(extproc_body_api, 32, 8);
AT(extproc_body_api, struct_size, 0);
AT(extproc_body_api, reserved, 4);
AT(extproc_body_api, write, 8);
AT(extproc_body_api, forward, 16);
AT(extproc_body_api, drop, 24);

SIZE(extproc_control_api, 24, 8);
AT(extproc_control_api, struct_size, 0);
AT(extproc_control_api, reserved, 4);
AT(extproc_control_api, skip, 8);
AT(extproc_control_api, extend_timeout, 16);

SIZE(extproc_streamed_reply_api, 32, 8);
AT(extproc_streamed_reply_api, struct_size, 0);
AT(extproc_streamed_reply_api, reserved, 4);
AT(extproc_streamed_reply_api, begin, 8);
AT(extproc_streamed_reply_api, write, 16);
AT(extproc_streamed_reply_api, end, 24);

SIZE(extproc_async_api, 40, 8);
AT(extproc_async_api, struct_size, 0);
AT(extproc_async_api, reserved, 4);
AT(extproc_async_api, suspend, 8);
AT(extproc_async_api, resume, 16);
AT(extproc_async_api, resume_after, 24);
AT(extproc_async_api, is_waiting, 32);

SIZE(extproc_work_api, 16, 8);
AT(extproc_work_api, struct_size, 0);
AT(extproc_work_api, reserved, 4);
AT(extproc_work_api, run, 8);

SIZE(extproc_plugin, 152, 8);
AT(extproc_plugin, struct_size, 0);
AT(extproc_plugin, abi_major, 4);
AT(extproc_plugin, abi_minor, 6);
AT(extproc_plugin, id, 8);
AT(extproc_plugin, version, 16);
AT(extproc_plugin, build_info, 24);
AT(extproc_plugin, required_extensions, 32);
AT(extproc_plugin, phases, 40);
AT(extproc_plugin, request_body_access, 44);
AT(extproc_plugin, response_body_access, 48);
AT(extproc_plugin, stream_state_size, 52);
AT(extproc_plugin, stream_state_align, 56);
AT(extproc_plugin, reserved, 60);
AT(extproc_plugin, create, 64);
AT(extproc_plugin, destroy, 72);
AT(extproc_plugin, stream_begin, 80);
AT(extproc_plugin, on_phase, 88);
AT(extproc_plugin, stream_end, 96);
AT(extproc_plugin, attributes, 104);
AT(extproc_plugin, request_body_types, 112);
AT(extproc_plugin, response_body_types, 120);
AT(extproc_plugin, may_block, 128);
AT(extproc_plugin, reserved_2, 132);
AT(extproc_plugin, on_resumed, 136);
AT(extproc_plugin, on_cancelled, 144);

TEST(AbiLayout, a_field_is_there_only_if_the_struct_says_so) {
  extproc_stream_end end{};
  end.struct_size = offsetof(extproc_stream_end, duration_ns);
  EXPECT_TRUE(EXTPROC_HAS(&end, extproc_stream_end, response_status));
  EXPECT_FALSE(EXTPROC_HAS(&end, extproc_stream_end, duration_ns));
}
