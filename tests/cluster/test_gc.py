"""The budget of the build cache, with three releases of the engine and both image stores."""

import re

import pytest
from cdk8s import Duration, Size

from dindcache import BuildCache, CacheRule, Engine, ImageStore
from tests.framework.site import APP, Site

NAMESPACE = "dindcache-gc"
# In MiB: four projects are within the budget of the build cache, a fifth is not.
LAYER, RESERVED, MAX_USED, MIN_FREE, VOLUME = 32, 60, 150, 120, 600


class Builder:
    """A volume on a file system of its own, the engine that has it, and a client."""

    def __init__(self, site: Site) -> None:
        self.site, self.cluster = site, site.cluster
        self.path = site.directory(disk=f"size={VOLUME}m")

    def give(self, image: str, store: ImageStore) -> None:
        older = "27" in image
        daemon = self.site.daemon(
            storage=Size.mebibytes(VOLUME),
            image=image,
            engine=Engine(image_store=store),
            build_cache=BuildCache(
                reserved_space=None if older else Size.mebibytes(RESERVED),
                max_used_space=Size.mebibytes(MAX_USED),
                min_free_space=None if older else Size.mebibytes(MIN_FREE),
                sources=CacheRule(unused_for=Duration.minutes(90), when_larger_than=Size.mebibytes(31)),
                cache_mounts=CacheRule(unused_for=Duration.days(14), when_larger_than=Size.mebibytes(30)),
            ),
            disk_guard=False,  # which reclaims space before the engine does
        )
        self.client = self.site.client(daemon)

    def restart(self) -> None:
        self.cluster.delete_pod(NAMESPACE, APP)
        self.cluster.rollout(NAMESPACE, APP)
        self.client.wait_for_daemon()

    def is_cached(self, project: str, *arguments: str) -> bool:
        """Build, and return whether the large layer, which no image contains, was cached."""
        output = self.client.sh(
            f"""mkdir -p /tmp/{project}; cd /tmp/{project}; cat >Dockerfile <<'EOF'
FROM busybox:latest AS build
RUN head -c {LAYER << 20} /dev/urandom >/layer; echo {project} >/result
FROM busybox:latest
COPY --from=build /result /result
EOF
            docker build --progress=plain {" ".join(arguments)} ."""
        )
        return bool(re.search(r"^(#\d+) \[build 2/2\] RUN .*^\1 CACHED", output, re.DOTALL | re.MULTILINE))

    def has_layer(self, project: str) -> bool:
        """Return whether the layer itself is cached. A whole build does not need it while what it copied from it is cached."""
        return self.is_cached(project, "--target=build", "--output=type=cacheonly")

    def build_six(self, name: str) -> list[str]:
        """Build more than the budget, and return the projects in their order."""
        projects = [f"{name}-{i}" for i in range(6)]
        used = []
        for project in projects:
            assert not self.is_cached(project)
            used.append(self.client.build_cache())
        assert max(used) > MAX_USED  # the engine may collect before the last
        return projects

    def records(self) -> set[str]:
        return set(re.findall(r"^ID:\s+(\S+)", self.client.sh("docker buildx du --verbose"), re.MULTILINE))

    def on_node(self, script: str) -> str:
        """Run a script on the daemon's node, in the directory of the file system."""
        return self.cluster.on_node(self.cluster.node_names[0], f"cd {self.path}; {script}")

    def free(self) -> int:
        """Return the free MiB of the file system."""
        return int(self.on_node("df -Pm . | tail -n 1").split()[3])

    def rules(self) -> list[dict[str, str]]:
        """Return the rules that the engine follows, with the fields that are not empty."""
        rules = self.client.sh("docker buildx inspect").split("GC Policy rule#")[1:]
        return [dict(re.findall(r"^ (\w[\w ]*):[ \t]+(\S+)$", rule, re.MULTILINE)) for rule in rules]


@pytest.fixture(scope="module")
def builder(site: Site) -> Builder:
    return Builder(site)


@pytest.mark.parametrize(
    ("release", "store"),
    [
        ("27", ImageStore.OVERLAY2),
        ("28", ImageStore.CONTAINERD),
        ("29", ImageStore.CONTAINERD),
        ("29", ImageStore.OVERLAY2),
    ],
)
def test_each_engine_follows_the_budget(builder, release, store):
    builder.give(f"docker:{release}-dind", store)
    most = "Reserved Space" if release == "27" else "Max Used Space"
    rest = {most: f"{MAX_USED}MiB"}
    least = {} if release == "27" else {"Reserved Space": f"{RESERVED}MiB", "Min Free Space": f"{MIN_FREE}MiB"}
    rules = builder.rules()
    durations = [re.sub(r"\.\d+s$", "s", rule.pop("Keep Duration", "")) for rule in rules]
    assert durations == ["1h30m0s", "1h30m0s", "336h0m0s", "", ""]
    assert rules == [
        {"All": "false", "Filters": "type==source.local", most: "31MiB"},
        {"All": "false", "Filters": "type==source.git.checkout", most: "31MiB"},
        {"All": "false", "Filters": "type==exec.cachemount", most: "30MiB"},
        {"All": "false", **rest, **least},
        {"All": "true", **rest},
    ]

    first, *_, last = builder.build_six(f"engine-{release}-{store.value}")
    builder.restart()  # it collects when it starts, too
    builder.cluster.wait(lambda: builder.client.build_cache() <= MAX_USED, "the build cache is within its budget")
    assert builder.client.build_cache() > RESERVED
    assert builder.has_layer(last)
    assert not builder.has_layer(first)


def test_the_file_system_keeps_its_free_space_and_a_restart_removes_nothing_more(builder):
    builder.give("docker:29-dind", ImageStore.OVERLAY2)
    first, *_, last = builder.build_six("free")
    # Three layers have to go for it, where the budget itself would take two.
    filler = builder.free() - MIN_FREE + int(2.5 * LAYER)
    builder.on_node(f"dd if=/dev/zero of=filler bs=1M count={filler} 2>/dev/null")

    def collected() -> bool:
        # It looks after a build, and not within a minute of the last time.
        builder.client.sh("echo FROM busybox:latest | docker build -q -")
        return bool(builder.free() >= MIN_FREE)

    builder.cluster.wait(collected, "the disk has its free space back")
    assert builder.client.build_cache() >= RESERVED
    builder.on_node("rm filler")
    kept = builder.records()
    builder.restart()
    assert builder.records() == kept
    assert builder.has_layer(last)
    assert not builder.has_layer(first)
