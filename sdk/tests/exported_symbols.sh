#!/bin/sh
# exported_symbols.sh FILE...: each module defines exactly one dynamic symbol, its entry.
set -u
result=0
for module in "$@"; do
  found=$(nm -D --defined-only "$module" | awk '{print $NF}') || exit 1
  if [ "$found" != extproc_plugin_entry_v1 ]; then
    echo "$module exports: $found"
    result=1
  fi
done
exit $result
