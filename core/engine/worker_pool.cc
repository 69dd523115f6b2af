#include "core/engine/worker_pool.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <system_error>
#include <utility>

#include "core/engine/callback_watch.h"
#include "core/telemetry/log.h"

namespace extprocd::engine {
namespace {

telemetry::Counter& jobs(telemetry::Registry& registry, const char* result) {
  return registry.counter(
      "extproc_worker_jobs_total",
      "Callbacks of plugins that may block, and work that plugins handed over: run, refused "
      "because too much waits, or dropped because their plugin ends.",
      {{"result", result}});
}

Clock::time_point after(WorkerPool::Duration delay) {
  const auto now = Clock::now();
  return delay < Clock::time_point::max() - now ? now + delay : Clock::time_point::max();
}

}  // namespace

WorkerPool::Metrics::Metrics(telemetry::Registry& registry)
    : queue_length(registry.gauge("extproc_worker_queue_length", "Jobs that wait for a worker now.")),
      busy(registry.gauge("extproc_workers_busy", "Workers that run a job now.")),
      wait(registry.histogram("extproc_worker_wait_seconds", "Time that jobs waited for a worker.",
                              telemetry::kDurationBounds)),
      run(jobs(registry, "run")),
      refused(jobs(registry, "refused")),
      dropped(jobs(registry, "dropped")) {}

WorkerPool::WorkerPool(const config::Workers& settings, telemetry::Registry& registry)
    : settings_(settings), metrics_(registry) {}

WorkerPool::~WorkerPool() {
  std::unique_lock lock(mutex_);
  ends_ = true;
  std::vector<Waiting> delayed = std::exchange(delayed_, {});
  if (metrics_.busy.value() > 0 || !queue_.empty()) {
    telemetry::log(telemetry::Level::kInfo, "workers",
                   "waiting for plugins: " + std::to_string(static_cast<int>(metrics_.busy.value())) +
                       " of their jobs run, " + std::to_string(queue_.size()) + " are to run");
  }
  lock.unlock();
  drop(std::move(delayed));
  work_.notify_all();
  time_.notify_all();
  // No thread is begun any more: only the threads submit now, and there is one.
  for (std::thread& thread : threads_) thread.join();
  // Where no thread could be begun.
  drop({std::move_iterator(queue_.begin()), std::move_iterator(queue_.end())});
}

bool WorkerPool::submit(Job job, const void* owner) {
  const std::lock_guard lock(mutex_);
  if (queue_.size() >= settings_.max_queue) return refuse();
  add({std::move(job), owner, Clock::now()});
  return true;
}

void WorkerPool::submit_always(Job job, const void* owner, Duration delay) {
  const std::lock_guard lock(mutex_);
  if (delay <= Duration::zero()) {
    add({std::move(job), owner, Clock::now()});
  } else {
    add_delayed({std::move(job), owner, after(delay)});
  }
}

bool WorkerPool::submit_after(Duration delay, Job job, const void* owner) {
  if (delay <= Duration::zero()) return submit(std::move(job), owner);
  const std::lock_guard lock(mutex_);
  if (delayed_.size() >= settings_.max_queue) return refuse();
  add_delayed({std::move(job), owner, after(delay)});
  return true;
}

bool WorkerPool::refuse() {
  metrics_.refused.add();
  return false;
}

void WorkerPool::add(Waiting waiting) {
  queue_.push_back(std::move(waiting));
  metrics_.queue_length.set(static_cast<double>(queue_.size()));
  wake_one();
}

void WorkerPool::add_delayed(Waiting waiting) {
  delayed_.push_back(std::move(waiting));
  std::ranges::push_heap(delayed_, std::greater(), &Waiting::since);
  if (keeps_time_) {
    time_.notify_one();
  } else {
    wake_one();
  }
}

/// Has a thread look at what is to be done, if one is free to or can be begun.
void WorkerPool::wake_one() {
  if (idle_ > 0) {
    work_.notify_one();
  } else if (keeps_time_) {
    time_.notify_one();
  }
  // Those that are idle may have been woken for others already.
  const std::size_t free = idle_ + (keeps_time_ ? 1 : 0);
  const std::size_t wanted = queue_.size() + (delayed_.empty() ? 0 : 1);
  if (free >= wanted || threads_.size() == settings_.threads || ends_) return;
  try {
    const std::size_t place = running_.size();
    running_.push_back(nullptr);
    threads_.reserve(threads_.size() + 1);
    threads_.emplace_back([this, place] { work(place); });
  } catch (const std::system_error& error) {
    running_.pop_back();
    telemetry::log(telemetry::Level::kError, "workers",
                   "cannot begin a thread, " + std::to_string(threads_.size()) + " of " +
                       std::to_string(settings_.threads) + " run: " + error.what());
  }
}

void WorkerPool::work(std::size_t place) {
  leave_thread_unwatched();
  std::unique_lock lock(mutex_);
  while (true) {
    queue_what_is_due();
    if (!queue_.empty()) {
      run(lock, place);
    } else if (ends_) {
      return;
    } else {
      wait(lock);
    }
  }
}

void WorkerPool::wait(std::unique_lock<std::mutex>& lock) {
  if (delayed_.empty() || keeps_time_) {
    ++idle_;
    work_.wait(lock);
    --idle_;
    return;
  }
  keeps_time_ = true;
  const Clock::time_point until = delayed_.front().since;
  if (until == Clock::time_point::max()) {
    time_.wait(lock);
  } else {
    time_.wait_until(lock, until);
  }
  keeps_time_ = false;
}

/// Runs the first of the queue.
void WorkerPool::run(std::unique_lock<std::mutex>& lock, std::size_t place) {
  {
    Waiting next = std::move(queue_.front());
    queue_.pop_front();
    metrics_.queue_length.set(static_cast<double>(queue_.size()));
    running_[place] = next.owner;
    // Somebody else has to see to what is left while this one is inside the job.
    if (!queue_.empty() || (!delayed_.empty() && !keeps_time_)) wake_one();
    lock.unlock();
    metrics_.wait.observe(std::chrono::duration<double>(Clock::now() - next.since).count());
    metrics_.busy.add(1);
    next.job(/*dropped=*/false);
    metrics_.busy.add(-1);
    metrics_.run.add();
    if (next.owner != nullptr) {
      lock.lock();
      running_[place] = nullptr;
      returned_.notify_all();
      lock.unlock();
    }
    // The job goes here, with what it holds: that may be the last reference to a generation, whose plugins then wait
    // for their own jobs.
  }
  lock.lock();
}

void WorkerPool::queue_what_is_due() {
  if (delayed_.empty()) return;
  const auto now = Clock::now();
  while (!delayed_.empty() && delayed_.front().since <= now) {
    std::ranges::pop_heap(delayed_, std::greater(), &Waiting::since);
    queue_.push_back(std::move(delayed_.back()));
    delayed_.pop_back();
  }
  metrics_.queue_length.set(static_cast<double>(queue_.size()));
}

void WorkerPool::give_up(const void* owner) {
  std::unique_lock lock(mutex_);
  std::vector<Waiting> waiting = take_waiting(owner);
  lock.unlock();
  drop(std::move(waiting));
  lock.lock();
  returned_.wait(lock, [&] { return !runs(owner); });
}

std::vector<WorkerPool::Waiting> WorkerPool::take_waiting(const void* owner) {
  std::vector<Waiting> taken;
  const auto take_from = [&](auto& jobs) {
    // Not std::stable_partition, with which clang finds fault in GCC 12's library.
    auto all = std::exchange(jobs, {});
    for (Waiting& waiting : all) {
      if (waiting.owner == owner) {
        taken.push_back(std::move(waiting));
      } else {
        jobs.push_back(std::move(waiting));
      }
    }
  };
  take_from(queue_);
  take_from(delayed_);
  std::ranges::make_heap(delayed_, std::greater(), &Waiting::since);
  metrics_.queue_length.set(static_cast<double>(queue_.size()));
  return taken;
}

bool WorkerPool::runs(const void* owner) const {
  return std::ranges::find(running_, owner) != running_.end();
}

void WorkerPool::drop(std::vector<Waiting> jobs) {
  for (Waiting& waiting : jobs) {
    waiting.job(/*dropped=*/true);
    metrics_.dropped.add();
  }
}

std::size_t WorkerPool::queue_length() const {
  const std::lock_guard lock(mutex_);
  return queue_.size();
}

}  // namespace extprocd::engine
