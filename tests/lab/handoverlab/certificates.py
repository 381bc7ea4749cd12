"""A small CA per lab, so that libvirtd trusts other hosts of the lab over TLS."""

from . import files, settings
from .run import run

_CA = "cn = handoverd lab CA\nca\ncert_signing_key\nexpiration_days = 3650\n"


def install(host: str) -> None:
    """Give a host the CA, and one certificate that serves it as server and as client."""
    store = settings.STATE / "ca"
    if not (store / "ca.pem").exists():
        store.mkdir(parents=True, exist_ok=True)
        _make_ca()
    key, certificate = store / f"{host}.key", store / f"{host}.pem"
    if not certificate.exists():
        _private_key(key)
        template = store / f"{host}.info"
        template.write_text(
            f"organization = handoverd lab\ncn = {host}\ndns_name = {host}\nip_address = {settings.host_address(host)}\n"
            "tls_www_server\ntls_www_client\nsigning_key\nencryption_key\nexpiration_days = 3650\n")
        run(["certtool", "--generate-certificate", "--load-privkey", key, "--load-ca-certificate", store / "ca.pem",
             "--load-ca-privkey", store / "ca.key", "--template", template, "--outfile", certificate])
    files.copy(host, store / "ca.pem", "/etc/pki/CA/cacert.pem")
    for role in ("server", "client"):
        files.copy(host, certificate, f"/etc/pki/libvirt/{role}cert.pem")
        files.copy(host, key, f"/etc/pki/libvirt/private/{role}key.pem", 0o600)


def _make_ca() -> None:
    store = settings.STATE / "ca"
    _private_key(store / "ca.key")
    (store / "ca.info").write_text(_CA)
    run(["certtool", "--generate-self-signed", "--load-privkey", store / "ca.key",
         "--template", store / "ca.info", "--outfile", store / "ca.pem"])


def _private_key(path) -> None:
    run(["certtool", "--generate-privkey", "--key-type", "rsa", "--bits", "2048", "--outfile", path])
