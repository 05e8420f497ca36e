"""The ways to build in a CI job that ``benchmarks/build.py`` compares, each as its users run it."""

import json
import shlex
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from cdk8s import Cron, Size

from benchmarks.job import BUILDS, Job, Times, projects, read
from benchmarks.restart import article, article_daemon
from dindcache import DindDaemon, PruneSchedule
from dindcache.gitlab import GitLabCi
from tests.framework.client import Client
from tests.framework.site import Site
from tests.framework.support import REGISTRY

NAMESPACE = "dindcache-bench"
CLIENT = "docker:29.9.3-cli"
BUILD_ARGUMENT = f"--build-arg REGISTRY={REGISTRY}"
# Labels in the plot.
TITLES = {
    "sidecar": "a fresh daemon for each job",
    "registry": "the same with a cache in the registry",
    "article": "the article's daemon",
    "dindcache": "dindcache",
    "buildx": "buildx, Kubernetes driver, a volume",
    "floor": "the floor: on the daemon's own socket",
}
KUBERNETES = Path(__file__).parent / "buildkit.yaml"


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to build.

    :param run: Function that runs a job and returns its output
    :param empty: Function that empties the cache before a first build
    :param weekend: Function that runs the scheduled prune. Defaults to no prune
    :param directory: Directory of its data on the first node. Without one, jobs print the space that they used
    """

    run: Callable[[Job], str]
    empty: Callable[[], Any] = lambda: None
    weekend: Callable[[], Any] | None = None
    directory: str | None = None

    def at_once(self, jobs: Sequence[Job]) -> list[tuple[Times, str]]:
        """Run these jobs simultaneously, and return their times and outputs."""
        with ThreadPoolExecutor(len(jobs)) as pool:
            outputs = list(pool.map(self.run, jobs))
        return [(read(output), output) for output in outputs]


def image(job: Job) -> str:
    """Return the image that a job builds and pushes."""
    return f"{REGISTRY}/bench/{job.project}:{job.stamp}"


def build_and_push(job: Job) -> str:
    """Return the steps of a job with separate commands."""
    return f"mark build; docker build {BUILD_ARGUMENT} -t {image(job)} .; mark push; docker push {image(job)}; mark pushed"


def build_with_push(job: Job, command: str = "docker build") -> str:
    """Return the steps of a job with one command for both, like our template."""
    return f"mark build; {command} {BUILD_ARGUMENT} --push -t {image(job)} .; mark pushed"


class Ways:
    """All ways on one cluster: daemons on its first node, jobs on the second, the registry on the last.

    :param site: Site of ``NAMESPACE``
    """

    def __init__(self, site: Site) -> None:
        nodes = len(site.cluster.node_names)
        if nodes < 2:
            raise ValueError(f"cluster must have two nodes at least, one for the daemons and one for the jobs, got {nodes}")
        self._site, self._cluster = site, site.cluster
        self._jobs_node = site.cluster.node_names[1]
        self._projects = projects()

    def set_up(self, *names: str) -> dict[str, Way]:
        """Start the daemons of the ways with these names (default: all), and push the base image.

        Our daemon builds the base image, so ``dindcache`` must be one of them.
        """
        makers: dict[str, Callable[[], Way]] = {
            "sidecar": lambda: Way(run=self._sidecar(build_and_push)),
            "registry": lambda: Way(run=self._sidecar(self._with_registry_cache)),
            "article": self._article,
            "dindcache": self._dindcache,
            "buildx": self._buildx,
            "floor": self._floor,
        }
        ways = {name: make() for name, make in makers.items() if name in (names or makers)}
        base = f"{REGISTRY}/bench/base"
        self._in_daemon(f"{self._projects}\ndocker build -q -t {base} {BUILDS}/base; docker push -q {base}")
        return ways

    def _apply(self, *manifests: Any) -> None:
        # Without cdk8s: jsii confuses the answers to several threads.
        self._cluster.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}))

    def _exec(self, name: str, script: str, container: str = "") -> str:
        arguments = [f"--namespace={NAMESPACE}", name, f"--container={container}"]
        return self._cluster.kubectl("exec", *arguments, "--", "sh", "-ec", script, timeout=600)

    def _in_daemon(self, script: str) -> str:
        return self._exec("deployment/dindcache", script)

    def _sidecar(self, steps: Callable[[Job], str]) -> Callable[[Job], str]:
        """Return a function that runs a job in a pod with its own daemon: with TLS, as in GitLab's documentation."""

        def run(job: Job) -> str:
            # The time starts with the containers. The init container does the work of GitLab before that, which is cloning.
            wait = "until docker info >/dev/null 2>&1; do sleep 0.1; done"
            used = 'echo "used $(du -sm /var/lib/docker | cut -f1)"'
            # The pod runs the job itself: kubectl exec could start only after a poll has seen the pod.
            script = f"({job.script(f'{wait}{chr(10)}{steps(job)}')}\n{used}) >/tmp/output 2>&1; touch /tmp/done; sleep 600"
            name = f"job-{job.stamp}"
            mirrors = [f"--registry-mirror={mirror}" for mirror in self._cluster.registry_mirrors]
            builds, certificates = ({"name": n, "mountPath": p} for n, p in (("builds", BUILDS), ("certs", "/certs")))
            data = {"name": "docker", "mountPath": "/var/lib/docker"}
            containers = [
                {
                    "name": "docker",
                    "image": "docker:29-dind",
                    "args": [*mirrors, f"--insecure-registry={REGISTRY}"],
                    "env": [{"name": "DOCKER_TLS_CERTDIR", "value": "/certs"}],
                    "securityContext": {"privileged": True},
                    "volumeMounts": [data, certificates],
                },
                {
                    "name": "build",
                    "image": CLIENT,
                    "command": ["sh", "-c", script],
                    "env": [
                        {"name": "DOCKER_HOST", "value": "tcp://docker:2376"},
                        {"name": "DOCKER_TLS_VERIFY", "value": "1"},
                        {"name": "DOCKER_CERT_PATH", "value": "/certs/client"},
                    ],
                    "volumeMounts": [data, certificates, builds],
                },
            ]
            clone = {"name": "clone", "image": CLIENT, "command": ["sh", "-ec", self._projects], "volumeMounts": [builds]}
            self._apply(
                self._pod(
                    name,
                    containers=containers,
                    initContainers=[clone],
                    hostAliases=[{"ip": "127.0.0.1", "hostnames": ["docker"]}],
                    volumes=[{"name": volume, "emptyDir": {}} for volume in ("docker", "certs", "builds")],
                )
            )
            self._cluster.kubectl("wait", f"--namespace={NAMESPACE}", f"pod/{name}", "--for=condition=Ready", "--timeout=120s")
            output = self._exec(name, "until [ -e /tmp/done ]; do sleep 0.2; done; cat /tmp/output", container="build")
            self._cluster.kubectl("delete", "pod", f"--namespace={NAMESPACE}", name, "--wait", "--grace-period=1")
            return output

        return run

    def _pod(self, name: str, **spec: Any) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"nodeName": self._jobs_node, "restartPolicy": "Never", **spec},
        }

    @staticmethod
    def _with_registry_cache(job: Job) -> str:
        # One for each round and project, like one for each branch of a project.
        cache = f"type=registry,ref={REGISTRY}/bench/cache-{job.project}:{job.stamp.split('-')[0]}"
        return build_with_push(job, f"docker buildx build --cache-from {cache} --cache-to {cache},mode=max")

    def _article(self) -> Way:
        """Apply the article's manifests, and return the way that runs its job."""
        directory = self._site.directory("article")
        self._apply(*article(self._site, directory))
        self._cluster.rollout(NAMESPACE, "docker-dind")
        client = self._client(article_daemon(NAMESPACE), "client-article")
        return Way(
            run=lambda job: client.sh(job.script(build_and_push(job))),
            empty=lambda: client.sh("docker system prune -af; docker builder prune -af"),
            weekend=lambda: self._cluster.run_now(NAMESPACE, "docker-dind-clear-cache"),
            directory=directory,
        )

    def _client(self, daemon: DindDaemon, name: str) -> Client:
        client = Client(self._cluster, daemon, NAMESPACE, self._jobs_node, name=name)
        client.wait_for_daemon()
        client.sh(self._projects)
        return client

    def _dindcache(self) -> Way:
        """Start our daemon, and return the way whose jobs extend ``.dindcache-build``."""
        chart = self._site.chart("dindcache")
        daemon = self._site.add_daemon(chart, "dindcache", storage=Size.gibibytes(10))
        PruneSchedule(chart, "clear-cache", daemon=daemon, schedule=Cron.weekly())
        self._site.start(chart)
        client = self._client(daemon, "client-dindcache")
        jobs = yaml.safe_load(GitLabCi(daemon=daemon).template())
        return Way(
            run=lambda job: client.sh(job.script(from_template(jobs, job))),
            empty=lambda: self._in_daemon("docker system prune -af; docker builder prune -af"),
            weekend=lambda: self._cluster.run_now(NAMESPACE, "dindcache-clear-cache"),
            directory=self._site.directory("dindcache"),
        )

    def _floor(self) -> Way:
        """Return the way that builds in the container of our daemon."""
        return Way(
            run=lambda job: self._in_daemon(job.script(build_with_push(job))),
            empty=lambda: self._in_daemon("docker system prune -af; docker builder prune -af"),
            directory=self._site.directory("dindcache"),
        )

    def _buildx(self) -> Way:
        """Start the StatefulSet of buildx's Kubernetes driver, with a claim, and return the way that uses it by name."""
        text = KUBERNETES.read_text().replace("NAMESPACE", NAMESPACE)
        text = text.replace("DIRECTORY", self._site.directory("buildkit")).replace("HOSTNAME", self._cluster.hostnames[0])
        self._apply(*yaml.safe_load_all(text))
        container = {"name": "build", "image": CLIENT, "command": ["sh", "-c", "trap exit TERM; while :; do sleep 1; done"]}
        self._apply(self._pod("client-buildx", serviceAccountName="buildx", containers=[container]))
        pod = "pod/client-buildx"
        self._cluster.kubectl("wait", f"--namespace={NAMESPACE}", pod, "--for=condition=Ready", "--timeout=120s")
        mirrors = self._cluster.mirror_hosts
        registries = [f'[registry."docker.io"]\n  mirrors = {mirrors}', f'[registry."{REGISTRY}"]\n  http = true']
        registries += [f'[registry."{mirror}"]\n  http = true' for mirror in mirrors]
        options = [
            f"namespace={NAMESPACE}",
            f"nodeselector=kubernetes.io/hostname={self._cluster.hostnames[0]}",
            "persistent-volume-claim.requests.storage=10Gi",
        ]
        create = f"""cat >~/buildkitd.toml <<'END'\n{chr(10).join(registries)}\nEND
            docker buildx create --name bench --node bench --driver kubernetes --use --buildkitd-config ~/buildkitd.toml \\
                {" ".join(f"--driver-opt {shlex.quote(option)}" for option in options)}"""
        self._exec(pod, f"{self._projects}\n{create} --bootstrap")
        # With a volume, buildx 0.38 creates a ConfigMap of the configuration but does not mount it.
        mount = {"name": "buildkitd", "volumeMounts": [{"name": "config", "mountPath": "/etc/buildkit"}]}
        volumes = [{"name": "config", "configMap": {"name": "bench-config"}}]
        patch = {"spec": {"template": {"spec": {"containers": [mount], "volumes": volumes}}}}
        stateful_set = [f"--namespace={NAMESPACE}", "statefulset/bench"]
        self._cluster.kubectl("patch", *stateful_set, f"--patch={json.dumps(patch)}")
        self._cluster.kubectl("rollout", "status", *stateful_set, "--timeout=120s")

        def steps(job: Job) -> str:
            return f"{create}\n{build_with_push(job, 'docker buildx build')}"

        return Way(
            run=lambda job: self._exec(pod, job.script(steps(job))),
            empty=lambda: self._exec(pod, "docker buildx prune --builder bench -af"),
            directory=self._site.directory("buildkit"),
        )


def from_template(jobs: dict[str, Any], job: Job) -> str:
    """A job of the template as one script."""
    variables = {
        "CI_JOB_ID": job.stamp,
        "CI_JOB_URL": f"https://gitlab.example/group/{job.project}/-/jobs/{job.stamp}",
        "CI_PROJECT_ID": job.project,
        "CI_PROJECT_PATH_SLUG": f"group-{job.project}",
        "CI_PROJECT_DIR": ".",
        "CI_COMMIT_SHA": "abc",
        "CI_REGISTRY_IMAGE": f"{REGISTRY}/bench/{job.project}",
        "DINDCACHE_BUILD_ARGS": "REGISTRY",
        "REGISTRY": REGISTRY,
        **jobs[".dindcache"]["variables"],
    }
    export = [f"export {name}={value}" for name, value in variables.items()]
    # A docker in front of the template's, which marks the start of a command.
    marking = """mkdir ~/bin
cat >~/bin/docker <<'END'
#!/bin/sh
echo "@ $1 $(cut -d' ' -f1 /proc/uptime)"
exec "$DINDCACHE/bin/docker" "$@"
END
chmod +x ~/bin/docker
PATH=~/bin:$PATH"""
    base, build = jobs[".dindcache"], jobs[".dindcache-build"]
    return "\n".join([*export, *base["before_script"], marking, *build["script"], "mark pushed", *base["after_script"]])
