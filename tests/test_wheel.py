import kubernetes_validate
import yaml


def test_a_users_app_needs_the_wheel_alone(user_app):
    manifests = list(yaml.safe_load_all(user_app("node1", "https://mirror.example").read_text()))
    for manifest in manifests:
        kubernetes_validate.validate(manifest, "1.27", strict=True)
    assert {(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests} == {
        ("StorageClass", "user-app-disks"),
        ("PersistentVolume", "user-app-disk"),
        ("PersistentVolumeClaim", "disk"),
        ("PersistentVolumeClaim", "cloud"),
        ("ConfigMap", "builder"),
        ("Deployment", "builder"),
        ("Service", "builder"),
        ("CronJob", "builder-prune"),
    }
    (deployment,) = (manifest for manifest in manifests if manifest["kind"] == "Deployment")
    assert deployment["metadata"]["annotations"] == {"owner": "user"}
