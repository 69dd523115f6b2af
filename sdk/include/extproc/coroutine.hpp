#pragma once

/// Waiting that reads like straight code. Optional, and for plugins that are compiled as C++20 or later.
///
///     extproc::Task check(std::string user) {
///       const auto group = co_await extproc::async<std::string>(
///           [&](extproc::Completion<std::string> done) { plugin().directory_.look_up(user, done); });
///       if (group.empty()) co_return extproc::reply(403, "nobody knows you\n");
///       current_headers().set("x-group", group);
///       co_return extproc::proceed();
///     }
///     extproc::Action on_request_headers(extproc::HeaderMap& headers, extproc::EndOfStream) override {
///       return run(check(std::string(headers.first("x-user").value_or(""))));
///     }
///
/// A coroutine is best a member of Stream: `this` is there as long as it runs. It takes its parameters by value, and no
/// views, HeaderMap& or Body&, all of which end with the callback: after a co_await read them anew, from
/// current_headers(), current_body() and so on. A lambda that captures must not be a coroutine: what it captured is gone
/// when it goes on.
///
/// It runs on the stream's thread alone. If the stream or its time is over while it waits, it is destroyed where it
/// stands, before on_cancelled: destructors of its variables give up what was begun.

#if !defined(__cpp_impl_coroutine)
#error \
    "extproc/coroutine.hpp needs C++20: target_compile_features(my_plugin PRIVATE cxx_std_20), or -std=c++20"
#else
#include <extproc/coroutine/async.hpp>
#include <extproc/coroutine/sleep.hpp>
#include <extproc/coroutine/task.hpp>
#endif
