"""A CA and a certificate for a test's engine."""

from __future__ import annotations

from tests.support.host import Entry

CERTIFICATES = "/etc/docker/tls"


def certificates() -> list[Entry]:
    """Return a CA and a certificate for the engine, with the modes that the benchmark asks for."""
    import datetime as dt

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "engine of a test")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + dt.timedelta(days=1))
    signed = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True).sign(key, hashes.SHA256())
    public = signed.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    folder = Entry(CERTIFICATES, None, 0o755)
    files = (("cacert", public, 0o444), ("cert", public, 0o444), ("key", private, 0o400))
    return [folder, *(Entry(f"{CERTIFICATES}/{name}.pem", content, mode) for name, content, mode in files)]
