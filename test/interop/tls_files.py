"""The files that servers and clients with TLS are given in these tests."""

from __future__ import annotations

from pathlib import Path

from certificates import Authority


class TlsFiles:
    """PEM files in a folder: an authority, a server's certificate of it and a client's, and a stranger's."""

    def __init__(self, folder: Path) -> None:
        authority = Authority("authority")
        self.ca = folder / "ca.pem"
        self.ca.write_text(authority.certificate)
        self.server, self.server_key = self._issue(authority, folder, "server", "localhost", "127.0.0.1")
        self.client, self.client_key = self._issue(authority, folder, "client", "client.example")
        # Of nobody whom the server trusts.
        self.stranger, self.stranger_key = self._issue(Authority("another"), folder, "stranger", "client.example")

    @staticmethod
    def _issue(authority: Authority, folder: Path, name: str, *identities: str) -> tuple[Path, Path]:
        issued = authority.sign(*identities)
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        certificate.write_text(issued.certificate)
        key.write_text(issued.key)
        key.chmod(0o600)
        return certificate, key

    def config(self, mutual: bool) -> str:
        """[server.tls]"""
        return (f"[server.tls]\ncertificate = '{self.server}'\nkey = '{self.server_key}'\n"
                + (f"client_ca = '{self.ca}'\n" if mutual else ""))
