import kubernetes_validate
import yaml


def test_a_users_app_needs_the_wheel_alone(user_app):
    manifests = list(yaml.safe_load_all(user_app("node1", "/mnt/disk", "https://mirror.example").read_text()))
    for manifest in manifests:
        kubernetes_validate.validate(manifest, "1.27", strict=True)
    names = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests}
    assert names == {
        ("StorageClass", "user-app-disks"),
        ("PersistentVolume", "user-app-disk"),
        ("PersistentVolumeClaim", "disk"),
        ("PersistentVolumeClaim", "cloud"),
        ("ConfigMap", "builder"),
        ("Deployment", "builder"),
        ("Service", "builder"),
        ("NetworkPolicy", "builder"),
        *((kind, "builder-issuer") for kind in ("ServiceAccount", "Role", "RoleBinding", "ConfigMap", "CronJob")),
        next((kind, name) for kind, name in names if kind == "Job"),
        ("CronJob", "builder-prune"),
    }
    (deployment,) = (manifest for manifest in manifests if manifest["kind"] == "Deployment")
    issuer, daemon = (set(manifest["data"]) for manifest in manifests if manifest["kind"] == "ConfigMap")
    assert issuer == {"issue.sh"}
    assert daemon == {"daemon.json", "alive.sh", "drain.sh", "lock.sh", "ready.sh", "reload.sh", "start.sh"}
    assert deployment["metadata"]["annotations"] == {"owner": "user"}
