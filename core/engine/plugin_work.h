#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include <extproc/abi.h>

#include "core/engine/worker_pool.h"

namespace extprocd::engine {

/// The work that one plugin hands over to the workers (extproc.work/1). Nothing runs before its instance is there, and
/// nothing when it is about to be destroyed. run() from any thread, the others from that which creates and destroys.
class PluginWork {
 public:
  /// `workers` may be null: then no work is taken. It outlives this, as does `log_name`.
  PluginWork(WorkerPool* workers, const std::string& log_name) : workers_(workers), log_name_(log_name) {}
  PluginWork(const PluginWork&) = delete;
  PluginWork& operator=(const PluginWork&) = delete;
  ~PluginWork() { end(); }

  /// extproc_work_api::run
  extproc_status run(uint64_t delay_ns, extproc_work work, void* data);

  /// The instance has been created: what it handed over meanwhile may run.
  void begin();
  /// Drops what waits and returns when nothing runs any more; no work is taken from here on. Once or more.
  void end();

 private:
  enum class State : uint8_t { kCreating, kOpen, kEnded };
  struct Work {
    uint64_t delay_ns;
    extproc_work function;
    void* data;
  };

  [[nodiscard]] WorkerPool::Job job(const Work& work) const;

  WorkerPool* const workers_;
  const std::string& log_name_;
  std::mutex mutex_;
  State state_ = State::kCreating;
  std::vector<Work> early_;  // handed over in create
};

}  // namespace extprocd::engine
