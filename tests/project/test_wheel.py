import kubernetes_validate
import yaml


def test_a_users_app_needs_the_wheel_alone(user_app):
    path = user_app("node1", "/mnt/disk", "https://mirror.example")
    manifests = list(yaml.safe_load_all(path.read_text()))
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
        *((kind, "builder-certs") for kind in ("ServiceAccount", "Role", "RoleBinding", "ConfigMap", "CronJob")),
        next((kind, name) for kind, name in names if kind == "Job"),
        ("CronJob", "builder-prune"),
        ("ConfigMap", "builder-prune"),
    }
    (deployment,) = (manifest for manifest in manifests if manifest["kind"] == "Deployment")
    issuer, daemon, prune = (set(manifest["data"]) for manifest in manifests if manifest["kind"] == "ConfigMap")
    assert issuer == {"issue.sh"}
    assert prune == {"prune.sh", "unused.sh"}
    assert daemon == {
        "daemon.json",
        "alive.sh",
        "drain.sh",
        "lock.sh",
        "ready.sh",
        "relieve.sh",
        "reload.sh",
        "start.sh",
        "unused.sh",
    }
    assert deployment["metadata"]["annotations"] == {"owner": "user"}
    assert path.with_name("config.toml").read_text().startswith("# by user\n[[runners]]\n")
    assert yaml.safe_load(path.with_name("docker.gitlab-ci.yml").read_text()).keys() == {".docker", ".docker-build"}
