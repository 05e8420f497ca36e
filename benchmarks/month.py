"""Run a month of builds in an hour, with three policies for disk space, each with its own daemon and small disk.

``python -m benchmarks.month KUBECONFIG [REGISTRY_MIRROR] [--days N] [--day SECONDS] [--seed N]``: the builds of ``trace.py``.
The policies run at the same time:

- article: the article's manifests, whose CronJob runs ``docker system prune -af`` on Sunday night;
- ours: a daemon with the default options, whose CronJob prunes on Sunday night;
- never: the article's manifests without the CronJob, and with an engine that never collects build cache.

A day takes seconds, so the times without use, which the defaults give in days, are given in these short days. Other clocks do
not change: the engine collects at most once a minute, and the disk guard checks every five seconds. To the guard, everything
is younger than two hours, so only the order of use counts. ``LONGEST_JOB`` is that of these builds.

Writes each build and sample to ``results/month.json``; ``make golden`` draws the plot. Prints the conditions that must hold,
and fails if one does not.
"""

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from itertools import groupby, pairwise
from typing import Any

from cdk8s import Cron, Duration, Size, Yaml
from cdk8s_plus_27 import ContainerResources, Cpu, CpuResources

from benchmarks import arguments
from benchmarks.build import Progress
from benchmarks.job import PROJECTS
from benchmarks.lines import Panel, svg
from benchmarks.restart import article, article_daemon
from benchmarks.trace import SUNDAY, WEEK, Build, cacheable, hit_rate, of_mondays, trace
from dindcache import BuildCache, CacheRule, DindDaemon, PruneSchedule, Retention
from tests.framework.cluster import Cluster
from tests.framework.site import APP, Site, new_site
from tests.framework.support import REGISTRY, support

DAYS, DAY_SECONDS, SEED = 30, 80, 1
# Labels in the plot.
POLICIES = {"article": "system prune -af weekly", "ours": "dindcache's defaults", "never": "never prune"}
DISK_MIB = 1500
DISK = f"size={DISK_MIB}m"
SAMPLE_SECONDS = 5
# The same for each daemon: on a busy machine, a daemon without requests gets almost no time next to one with requests.
REQUEST_MILLIS = 200
BUILDS = "/tmp/month"  # noqa: S108 - of a pod
LONGEST_JOB = Duration.seconds(30)

# A base image of 30 MB. A build adds 22 MB, or 1.5 MB if only its sources changed.
BASE = """FROM busybox:latest
COPY generate.awk /
RUN mkdir /runtime && awk -v seed={seed} -v files=100 -v lines=4600 -v directory=/runtime -f /generate.awk
"""
DOCKERFILE = """ARG BASE
FROM $BASE
RUN mkdir /tools && awk -v seed={seed} -v files=20 -v lines=3000 -v directory=/tools -f /generate.awk
COPY dependencies.lock /
RUN mkdir /dependencies && awk -v seed=$(cat dependencies.lock) -v files=100 -v lines=2400 -v directory=/dependencies \\
    -f /generate.awk
COPY source /source
RUN cat /source/* | gzip >/program
"""
BUILD_MIB = 24

# Conditions that must hold.
CACHED = 0.95
EVICTED_BELOW = 0.15  # free part of the disk, the kubelet's own limit for a disk with images
MAX_USED_MIB = DISK_MIB // 2
# The engine collects a second after a build, at most once a minute. Then a sample must see it, even on a busy machine.
COLLECTED_SECONDS = 75


def over_budget(samples: Iterable[tuple[float, float]], ends: Sequence[float]) -> list[float]:
    """Return the times at which the build cache exceeded its budget and one build after a collection was due.

    A collection is due when a build ended at least ``COLLECTED_SECONDS`` ago, and every sample since then was as large.

    :param samples: Samples in order: a time in seconds, and the size of the build cache in MiB
    :param ends: Times at which builds ended, in seconds
    """
    over: list[float] = []
    since: float | None = None
    for at, mebibytes in samples:
        if mebibytes <= MAX_USED_MIB + BUILD_MIB:
            since = None
            continue
        since = at if since is None else since
        if any(since <= end <= at - COLLECTED_SECONDS for end in ends):
            over.append(at)
    return over


@dataclass(frozen=True, kw_only=True)
class Built:
    """A finished build.

    :param end: Time of its end, in seconds since the month began
    :param took: Duration in seconds
    :param cached: Number of cached steps
    :param could: Number of steps that could have been cached
    :param error: End of its output if it failed
    """

    build: Build
    end: float
    took: float
    cached: int
    could: int
    error: str | None


class Policy:
    """A policy with its daemon, and a client on another node."""

    def __init__(self, site: Site, name: str, day_seconds: int) -> None:
        self._site = site
        self.name = name
        self._day_seconds = day_seconds
        self.directory = site.directory(disk=DISK)
        self.builts: list[Built] = []
        self.longest_day = 0.0
        self.ended = threading.Event()
        self._day, self._began = 0, time.monotonic()

    def set_up(self) -> None:
        """Start the daemon and a client."""
        daemon = self._ours() if self.name == "ours" else self._article()
        self._site.cluster.rollout(self._site.namespace, APP)
        self.client = self._site.client(daemon)
        generate = (PROJECTS / "base" / "generate.awk").read_text()
        self.client.sh(f"mkdir -p {BUILDS}\ncat >{BUILDS}/generate.awk <<'END'\n{generate}END")

    def _ours(self) -> DindDaemon:
        chart = self._site.chart()
        days = {days: Duration.seconds(days * self._day_seconds) for days in (3, 7, 14)}
        daemon = self._site.add_daemon(
            chart,
            disk=DISK,
            storage=Size.mebibytes(DISK_MIB),
            build_cache=BuildCache(sources=CacheRule(unused_for=days[3]), cache_mounts=CacheRule(unused_for=days[14])),
            retention=Retention(max_job_duration=LONGEST_JOB),
            resources=ContainerResources(cpu=CpuResources(request=Cpu.millis(REQUEST_MILLIS))),
        )
        PruneSchedule(chart, "clear-cache", daemon=daemon, schedule=Cron.weekly(), unused_for=days[7])
        self._site.cluster.apply(chart)
        return daemon

    def _article(self) -> DindDaemon:
        manifests = article(self._site, self.directory)
        (pod,) = (manifest["spec"]["template"]["spec"] for manifest in manifests if manifest["kind"] == "Deployment")
        pod["containers"][0]["resources"] = {"requests": {"cpu": f"{REQUEST_MILLIS}m"}}
        if self.name == "never":
            manifests = [manifest for manifest in manifests if manifest["kind"] != "CronJob"]
            name = "daemon-json"
            data = {"daemon.json": json.dumps({"builder": {"gc": {"enabled": False}}})}
            metadata = {"name": name, "namespace": self._site.namespace}
            manifests.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
            pod["volumes"].append({"name": name, "configMap": {"name": name}})
            pod["containers"][0]["volumeMounts"].append({"name": name, "mountPath": "/etc/docker"})
        self._site.cluster.kubectl("apply", "-f", "-", stdin=Yaml.stringify(*manifests))
        return article_daemon(self._site.namespace)

    def push_bases(self, bases: int) -> None:
        """Push the base images of the month, and remove them from the daemon."""
        for base in range(bases):
            image = f"{REGISTRY}/month/base:{base}"
            dockerfile = BASE.format(seed=1000 + base)
            self.client.sh(f"cd {BUILDS}; docker build -q -t {image} -f - . <<'END'\n{dockerfile}END\ndocker push -q {image}")
        self.client.sh("docker system prune -af")

    def live(self, builds: Sequence[Build], started: float, progress: Progress) -> None:
        """Run the month: the builds of a day are spread over the day, and the prune follows those of Sunday."""
        could = cacheable(builds)
        for day, group in groupby(builds, key=lambda build: build.day):
            today = list(group)
            self._day, self._began = day, time.monotonic()
            for position, build in enumerate(today):
                if self._ends_before(self._began + self._day_seconds * position / len(today)):
                    return
                progress.show(f"day {day + 1}: {self.name}")
                self.builts.append(self._build(build, could[build.number], started))
            if self._ends_before(self._began + self._day_seconds):
                return
            if day % WEEK == SUNDAY and self.name != "never":
                self._site.cluster.run_now(self._site.namespace, f"{APP}-clear-cache")
            self.longest_day = max(self.longest_day, time.monotonic() - self._began)

    def _ends_before(self, moment: float) -> bool:
        return self.ended.wait(max(0.0, moment - time.monotonic()))

    def now(self) -> float:
        """Return the current time in days of this policy. A late policy has longer days."""
        return self._day + min(1.0, (time.monotonic() - self._began) / self._day_seconds)

    def _build(self, build: Build, could: int, started: float) -> Built:
        directory = f"{BUILDS}/{build.project}"
        script = f"""if [ ! -e {directory}/source ]; then
                mkdir -p {directory}/source
                awk -v seed={build.project} -v files=20 -v lines=800 -v directory={directory}/source -f {BUILDS}/generate.awk
            fi
            cd {directory}; cat >Dockerfile <<'END'
{DOCKERFILE.format(seed=2000 + build.project)}END
            echo {100 * build.project + build.dependencies} >dependencies.lock; echo {build.number} >source/0000
            # A new HOME, as in the pod of a CI job.
            export HOME=$(mktemp -d); trap 'rm -rf $HOME' EXIT
            timeout 240 docker build --progress=plain --build-arg BASE={REGISTRY}/month/base:{build.base} \\
                -t project-{build.project}:{build.number} ."""
        begin = time.monotonic()
        done = self.client.run(script)
        output = done.stdout + done.stderr
        end = time.monotonic()
        return Built(
            build=build,
            end=round(end - started, 1),
            took=round(end - begin, 1),
            cached=len(self.client.steps(output, "CACHED")),
            could=could,
            error=output[-600:] if done.returncode else None,
        )


class Samples:
    """Sizes of the file systems and of our build cache, every ``SAMPLE_SECONDS``."""

    def __init__(self, cluster: Cluster, policies: Sequence[Policy], started: float) -> None:
        self._cluster, self._policies, self._started = cluster, policies, started
        self.rows: list[dict[str, Any]] = []
        self._enough = threading.Event()

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Take samples while the body runs."""
        with ThreadPoolExecutor(1) as pool:
            taking = pool.submit(self._take)
            try:
                yield
            finally:
                self._enough.set()
            taking.result()

    def _take(self) -> None:
        while not self._enough.wait(SAMPLE_SECONDS):
            # A command that fails on a busy machine costs one sample. The largest gap is printed.
            with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
                self.rows += self._sample()

    def _sample(self) -> list[dict[str, Any]]:
        directories = " ".join(policy.directory for policy in self._policies)
        # The kubelet counts the space that is available to users other than root.
        statistics = self._cluster.on_node(self._cluster.node_names[0], f"stat -f -c '%S %b %a' {directories}").splitlines()
        rows = []
        for policy, line in zip(self._policies, statistics, strict=True):
            size, blocks, available = map(int, line.split())
            row: dict[str, Any] = {"policy": policy.name, "day": round(policy.now(), 3)}
            row |= {"seconds": round(time.monotonic() - self._started, 1)}
            row |= {"disk, MiB": blocks * size >> 20, "used, MiB": (blocks - available) * size >> 20}
            if policy.name == "ours":
                row["build cache, MiB"] = round(policy.client.build_cache())
            rows.append(row)
        return rows


def holds(builts: Sequence[Built], samples: Sequence[dict[str, Any]]) -> dict[str, bool]:
    """Return whether each condition holds for our policy, by a description of the result."""
    mondays = on_mondays(builts)
    rate = rate_of(mondays) or 0.0
    gap = max(later["seconds"] - earlier["seconds"] for earlier, later in pairwise(samples))
    free = min((row["disk, MiB"] - row["used, MiB"]) / row["disk, MiB"] for row in samples)
    caches = [(row["seconds"], row["build cache, MiB"]) for row in samples]
    most = max(mebibytes for _, mebibytes in caches)
    above = sum(mebibytes > MAX_USED_MIB for _, mebibytes in caches)
    over = len(over_budget(caches, [built.end for built in builts]))
    failed = sum(built.error is not None for built in builts)
    return {
        f"on Mondays after the prune, in {len(mondays)} builds of projects built in the previous week, {rate:.1%} of the "
        f"cacheable steps were cached; at least {CACHED:.0%} must be": rate >= CACHED,
        f"at each of {len(samples)} samples, at most {gap:.0f} s apart, {free:.1%} of the disk was free; at least "
        f"{EVICTED_BELOW:.0%} must be, since the kubelet evicts pods below": free >= EVICTED_BELOW,
        f"of {len(samples)} samples {above} had a build cache above its budget of {MAX_USED_MIB} MiB (at most: {most} MiB); "
        f"{over} of them by more than the {BUILD_MIB} MiB of one build and for {COLLECTED_SECONDS} s after a build": not over,
        f"of {len(builts)} builds {failed} failed, for lack of space or another reason": not failed,
    }


def on_mondays(builts: Sequence[Built]) -> list[Built]:
    """Return the builds on Mondays, of projects that were built in the previous week."""
    numbers = {build.number for build in of_mondays([built.build for built in builts])}
    return [built for built in builts if built.build.number in numbers]


def rate_of(builts: Iterable[Built]) -> float | None:
    """Return the ratio of cached to cacheable steps, or None if no step was cacheable."""
    numbers = [(built.cached, built.could) for built in builts]
    return hit_rate((cached for cached, _ in numbers), (could for _, could in numbers))


def plot(rows: Sequence[dict[str, Any]]) -> str:
    """Return the plot of cached steps and disk space over the month."""
    rates: dict[str, list[tuple[float, float]]] = {}
    used: dict[str, list[tuple[float, float]]] = {}
    for name, title in POLICIES.items():
        of_policy = [row for row in rows if row.get("policy") == name]
        by_day = groupby((row for row in of_policy if "build" in row), key=lambda row: row["build"]["day"])
        for day, group in by_day:
            builds = list(group)
            rate = hit_rate((row["cached"] for row in builds), (row["could"] for row in builds))
            if rate is not None:
                rates.setdefault(title, []).append((day + 0.5, 100 * rate))
        used[title] = [(row["day"], row["used, MiB"]) for row in of_policy if "day" in row]
    panels = [
        Panel(heading="cached steps of the day, % of those that could be cached", top=100, lines=rates),
        Panel(
            heading="disk used, MiB",
            top=DISK_MIB,
            lines=used,
            limits={"full": DISK_MIB, "pods are evicted": DISK_MIB * (1 - EVICTED_BELOW)},
        ),
    ]
    days = rows[0]["days"]
    return svg(f"{days} days of builds with three policies; day 0 is a Monday", days, panels)


def live(cluster: Cluster, builds: Sequence[Build], day_seconds: int) -> tuple[list[Policy], list[dict[str, Any]]]:
    """Run the month with all policies, and return the policies and the samples."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(support(cluster))
        sites = [stack.enter_context(new_site(cluster, f"dindcache-month-{name}")) for name in POLICIES]
        policies = [Policy(site, name, day_seconds) for site, name in zip(sites, POLICIES, strict=True)]
        for policy in policies:
            policy.set_up()
        policies[0].push_bases(builds[-1].base + 1)
        progress = Progress(len(builds) * len(policies))
        started = time.monotonic()
        samples = Samples(cluster, policies, started)
        with samples.taken(), ThreadPoolExecutor(len(policies)) as pool:
            try:
                for lived in as_completed([pool.submit(policy.live, builds, started, progress) for policy in policies]):
                    lived.result()
            finally:
                for policy in policies:  # an error or Ctrl-C ends the month
                    policy.ended.set()
    print(file=sys.stderr)
    return policies, samples.rows


def main() -> int:
    """Run the month, and write the results."""
    parser = arguments.parser(__doc__, "month.json")
    parser.add_argument("--days", type=int, default=DAYS, help="at least 8, so that a Monday comes after a prune")
    parser.add_argument("--day", type=int, default=DAY_SECONDS, help="length of a day in seconds")
    parser.add_argument("--seed", type=int, default=SEED, help="seed of the trace")
    given = parser.parse_args()
    if given.days <= WEEK:
        parser.error(f"days must be at least {WEEK + 1}, got {given.days}")
    builds = trace(given.seed, given.days)
    policies, samples = live(Cluster(given.kubeconfig, given.registry_mirror), builds, given.day)

    longest = {policy.name: round(policy.longest_day) for policy in policies}
    rows: list[dict[str, Any]] = [
        {"seed": given.seed, "days": given.days, "day, s": given.day, "longest day, s": longest},
        *samples,
        *({"policy": policy.name, **asdict(built)} for policy in policies for built in policy.builts),
    ]
    given.results.mkdir(exist_ok=True)
    lines = ",\n".join(json.dumps(row) for row in rows)
    (given.results / "month.json").write_text(f"[\n{lines}\n]\n")
    builts = {policy.name: policy.builts for policy in policies}

    heads = ["cached of cacheable steps", "on Mondays, projects of the previous week", "most disk space used"]
    print(f"| {given.days} days | {' | '.join(heads)} | failed builds |")
    print("| --- | --- | --- | --- | --- |")
    for name, of_policy in builts.items():
        most = max(row["used, MiB"] for row in samples if row["policy"] == name)
        failed = sum(built.error is not None for built in of_policy)
        rates = [f"{rate_of(some) or 0:.1%}" for some in (of_policy, on_mondays(of_policy))]
        cells = [*rates, f"{most} of {DISK_MIB} MiB", f"{failed} of {len(of_policy)}"]
        print(f"| {name} | {' | '.join(cells)} |")
    print(f"\nthe longest day, in seconds instead of {given.day}: {longest}\n")
    found = holds(builts["ours"], [row for row in samples if row["policy"] == "ours"])
    for what, is_so in found.items():
        print(f"{'yes' if is_so else 'no'}: {what}")
    return 0 if all(found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
