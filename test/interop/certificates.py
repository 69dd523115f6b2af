"""An authority for tests, a server's certificate of it and a client's."""

from __future__ import annotations

from pathlib import Path

import trustme


class Certificates:
    """PEM files in a folder."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.ca = folder / "ca.pem"
        authority.cert_pem.write_to_path(self.ca)
        self.server, self.server_key = self._issue(authority, folder, "server", "127.0.0.1", "localhost")
        self.client, self.client_key = self._issue(authority, folder, "client", "client.example")
        # Of nobody whom the server trusts.
        self.stranger, self.stranger_key = self._issue(trustme.CA(), folder, "stranger", "client.example")

    @staticmethod
    def _issue(authority: trustme.CA, folder: Path, name: str, *identities: str) -> tuple[Path, Path]:
        issued = authority.issue_cert(*identities)
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        for blob in issued.cert_chain_pems:
            blob.write_to_path(certificate, append=True)
        issued.private_key_pem.write_to_path(key)
        key.chmod(0o600)
        return certificate, key

    def config(self, mutual: bool) -> str:
        """[server.tls]"""
        return (f"[server.tls]\ncertificate = '{self.server}'\nkey = '{self.server_key}'\n"
                + (f"client_ca = '{self.ca}'\n" if mutual else ""))
