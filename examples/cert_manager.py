"""A daemon whose certificates cert-manager issues. Start from it if cert-manager runs in the cluster.

A CA of the cluster signs for clients in two namespaces. cert-manager must be installed in the namespace ``cert-manager``, where
a ClusterIssuer looks for its Secret. Clients are in ``kube-ops`` and in ``gitlab``, which must exist.
"""

from pathlib import Path

from cdk8s import ApiObjectMetadata, App, Chart, Size
from constructs import Construct

from dindcache import BuildNamespace, CertManager, DindDaemon, LocalVolume
from imports.io.cert_manager import (
    Certificate,
    CertificateSpec,
    CertificateSpecIssuerRef,
    CertificateSpecPrivateKey,
    CertificateSpecPrivateKeyAlgorithm,
    CertificateSpecPrivateKeyRotationPolicy,
    ClusterIssuer,
    ClusterIssuerSpec,
    ClusterIssuerSpecCa,
    ClusterIssuerSpecSelfSigned,
)


class ClusterCa(Chart):
    """A CA for only this daemon, and the ClusterIssuer that signs with it.

    Everyone with a certificate from it is root on the node: limit who can request one with cert-manager's approver-policy.
    """

    def __init__(self, scope: Construct, id: str) -> None:
        super().__init__(scope, id, disable_resource_name_hashes=True)
        self_signed = ClusterIssuer(
            self,
            "self-signed",
            metadata=ApiObjectMetadata(name="self-signed"),
            spec=ClusterIssuerSpec(self_signed=ClusterIssuerSpecSelfSigned()),
        )
        secret_name = "docker-ca"  # noqa: S105 - a name
        Certificate(
            self,
            "ca",
            metadata=ApiObjectMetadata(name="docker-ca", namespace="cert-manager"),
            spec=CertificateSpec(
                is_ca=True,
                common_name="Docker CA",
                secret_name=secret_name,
                duration="87600h",
                private_key=CertificateSpecPrivateKey(
                    algorithm=CertificateSpecPrivateKeyAlgorithm.ECDSA,
                    size=256,
                    rotation_policy=CertificateSpecPrivateKeyRotationPolicy.NEVER,
                ),
                issuer_ref=CertificateSpecIssuerRef(kind=self_signed.kind, name=self_signed.name),
            ),
        )
        self.issuer = ClusterIssuer(
            self,
            "issuer",
            metadata=ApiObjectMetadata(name="docker-ca"),
            spec=ClusterIssuerSpec(ca=ClusterIssuerSpecCa(secret_name=secret_name)),
        )


class DockerCache(Chart):
    """The daemon, with clients in two namespaces."""

    def __init__(self, scope: Construct, id: str, *, cluster_issuer: str) -> None:
        super().__init__(scope, id, namespace="kube-ops", disable_resource_name_hashes=True)
        BuildNamespace(self, "namespace")
        volume = LocalVolume(self, "docker", hostname="node1", path="/mnt/k8s/docker", storage=Size.gibibytes(50))
        tls = CertManager(cluster_issuer=cluster_issuer, client_namespaces=["gitlab"])
        DindDaemon(self, "docker-dind", volume=volume, tls=tls)


def build(app: App) -> None:
    """Create every chart of this app."""
    ca = ClusterCa(app, "cert-manager-ca")
    DockerCache(app, "cert-manager", cluster_issuer=ca.issuer.name)


if __name__ == "__main__":
    app = App(outdir=str(Path(__file__).parent))
    build(app)
    app.synth()
