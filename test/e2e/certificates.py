"""Certificates that live as long as a test."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


class Certificate(NamedTuple):
    """A certificate and its key, in PEM."""

    certificate: str
    key: str


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Certificate:
    key_text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Certificate(certificate.public_bytes(Encoding.PEM).decode(), key_text.decode())


class Authority:
    """A CA of one test."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = _pem(self._sign((name,), self.key, is_authority=True), self.key).certificate

    def sign(self, *names: str) -> Certificate:
        """A certificate for DNS names and IP addresses; without any, for localhost."""
        key = ec.generate_private_key(ec.SECP256R1())
        return _pem(self._sign(names or ("localhost",), key, is_authority=False), key)

    def _sign(self, names: tuple[str, ...], key: ec.EllipticCurvePrivateKey, *, is_authority: bool) -> x509.Certificate:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(_name(names[0]))
            .issuer_name(_name(self.name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False)
            .sign(self.key, hashes.SHA256())
        )


class Secret:
    """A folder in which tls.crt and tls.key change together, as Kubernetes mounts a secret: links to a folder behind a link
    that is swapped."""

    def __init__(self, folder: Path, certificate: Certificate) -> None:
        self.folder = folder
        self.count = 0
        folder.mkdir()
        self.certificate = folder / "tls.crt"
        self.key = folder / "tls.key"
        self.renew(certificate)
        for file in (self.certificate, self.key):
            file.symlink_to(Path("..data") / file.name)

    def renew(self, certificate: Certificate) -> None:
        self.count += 1
        version = self.folder / f"..{self.count}"
        version.mkdir()
        (version / "tls.crt").write_text(certificate.certificate)
        (version / "tls.key").write_text(certificate.key)
        link = self.folder / "..new"
        link.symlink_to(version.name)
        os.replace(link, self.folder / "..data")
