from pathlib import Path

import kubernetes_validate
import yaml

ROOT = Path(__file__).parent.parent.parent


def test_a_users_app_needs_only_the_wheel(user_app):
    path = user_app("node1", "/mnt/disk", "https://mirror.example")
    manifests = list(yaml.safe_load_all(path.read_text()))
    for manifest in manifests:
        kubernetes_validate.validate(manifest, "1.27", strict=True)
    names = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests}
    assert names == {
        ("StorageClass", "user-app-disks"),
        ("PersistentVolume", "user-app.disk"),
        ("PersistentVolumeClaim", "disk"),
        ("PersistentVolumeClaim", "cloud"),
        ("ConfigMap", "board"),
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
    scripts = {path.name: path.read_text() for path in (ROOT / "dindcache").rglob("*.sh")}
    config_maps = [manifest["data"] for manifest in manifests if manifest["kind"] == "ConfigMap"]
    assert len(config_maps) == 4
    for data in config_maps:
        assert {key: text for key, text in data.items() if key.endswith(".sh")}.items() <= scripts.items()
    assert deployment["metadata"]["annotations"] == {"owner": "user"}
    assert path.with_name("config.toml").read_text().startswith("# by user\n[[runners]]\n")
    assert yaml.safe_load(path.with_name("docker.gitlab-ci.yml").read_text()).keys() == {".dindcache", ".dindcache-build"}
