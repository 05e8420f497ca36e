"""Authentication of a daemon and its clients."""

from dindcache.tls.cert_manager import CertManager
from dindcache.tls.certificates import CertificateSecret, Tls
from dindcache.tls.given_secrets import GivenSecrets
from dindcache.tls.no_tls import NoTls
from dindcache.tls.self_issued import SelfIssued

__all__ = ["CertManager", "CertificateSecret", "GivenSecrets", "NoTls", "SelfIssued", "Tls"]
