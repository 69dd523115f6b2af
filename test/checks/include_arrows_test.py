"""The check of include arrows sees what it is there for. Run by ctest, without pytest."""

import unittest

from include_arrows import faults_of


class IncludeArrows(unittest.TestCase):
    def check(self, path: str, include: str) -> bool:
        return not faults_of(path, f'#include <vector>\n#include "{include}"\n')

    def test_arrows_down_are_fine(self) -> None:
        for path, include in [
            ("core/engine/stream.cc", "core/wire/request_view.h"),
            ("core/wire/a.cc", "core/http/b.h"),
            ("core/wire/a.cc", "core/wire/b.h"),
            ("core/transport/grpc/call.h", "core/transport/services.h"),
            ("core/server/main.cc", "core/transport/grpc/server.h"),
            ("plugins/x/p.cc", "extproc/plugin.hpp"),
            ("core/wire/a.cc", "../http/b.h"),
        ]:
            self.assertTrue(self.check(path, include), (path, include))

    def test_arrows_up_and_sideways_are_not(self) -> None:
        for path, include in [
            ("core/http/a.h", "core/wire/b.h"),
            ("core/plugin/module.cc", "core/engine/chain.h"),
            ("core/wire/a.cc", "core/telemetry/log.h"),
            ("core/admin/a.cc", "core/transport/health.h"),
            ("core/transport/health.cc", "core/transport/grpc/server.h"),
            ("core/transport/h2/a.cc", "core/transport/grpc/server.h"),
            ("sdk/include/extproc/a.hpp", "core/http/b.h"),
            ("plugins/x/p.cc", "core/http/b.h"),
            ("core/http/a.h", "../engine/stream.h"),
            ("plugins/x/p.cc", "../../core/http/b.h"),
            ("core/elsewhere/a.cc", "core/http/b.h"),
            ("core/engine/a.cc", "core/elsewhere/b.h"),
        ]:
            self.assertFalse(self.check(path, include), (path, include))

    def test_heavy_headers_stay_in_cc_files_of_their_room(self) -> None:
        self.assertTrue(self.check("core/config/a.cc", "toml++/toml.h"))
        for path, include in [
            ("core/config/a.h", "toml++/toml.h"),
            ("core/server/a.cc", "toml++/toml.h"),
            ("core/engine/a.cc", "grpcpp/grpcpp.h"),
            ("core/admin/a.h", "boost/beast/core.hpp"),
            ("core/engine/a.cc", "boost/dll/shared_library.hpp"),
        ]:
            self.assertFalse(self.check(path, include), (path, include))


if __name__ == "__main__":
    unittest.main()
