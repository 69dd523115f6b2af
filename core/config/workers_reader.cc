#include "core/config/workers_reader.h"

namespace extprocd::config {

void read_workers(TableReader& table, Workers& workers) {
  table.get("threads", workers.threads, 1, 1024);
  table.get("max_queue", workers.max_queue, 1, 1000000);
}

}  // namespace extprocd::config
