"""The objects of dist/ straight from ``cdk8s_plus_27.k8s``: what ``benchmarks/synth.py`` compares ``main.py`` with."""

from hashlib import sha256
from pathlib import Path

from cdk8s import App, Chart
from cdk8s_plus_27 import k8s

SCRIPTS = Path(__file__).parent.parent / "dindcache" / "scripts"
data = {
    "daemon.json": """{
  "features": {
    "containerd-snapshotter": false
  },
  "log-driver": "json-file",
  "log-opts": {
    "max-file": "3",
    "max-size": "10240k"
  },
  "storage-driver": "overlay2"
}
""",
    **{script.name: script.read_text() for script in SCRIPTS.glob("*.sh")},
}
checksum = sha256("\0".join(f"{key}\0{data[key]}" for key in sorted(data)).encode()).hexdigest()

app = App()
chart = Chart(app, "docker-cache", disable_resource_name_hashes=True)
k8s.KubeNamespace(
    chart, "namespace", metadata=k8s.ObjectMeta(labels={"pod-security.kubernetes.io/enforce": "privileged"}, name="kube-ops")
)
k8s.KubeStorageClass(
    chart,
    "storageclass",
    metadata=k8s.ObjectMeta(name="kube-ops-docker"),
    provisioner="kubernetes.io/no-provisioner",
    reclaim_policy="Delete",
    volume_binding_mode="WaitForFirstConsumer",
)
k8s.KubePersistentVolume(
    chart,
    "persistentvolume",
    metadata=k8s.ObjectMeta(name="kube-ops-docker"),
    spec=k8s.PersistentVolumeSpec(
        access_modes=["ReadWriteOnce"],
        capacity={"storage": k8s.Quantity.from_string("50Gi")},
        claim_ref=k8s.ObjectReference(api_version="v1", kind="PersistentVolumeClaim", name="docker", namespace="kube-ops"),
        local=k8s.LocalVolumeSource(path="/mnt/k8s/docker"),
        node_affinity=k8s.VolumeNodeAffinity(
            required=k8s.NodeSelector(
                node_selector_terms=[
                    k8s.NodeSelectorTerm(
                        match_expressions=[
                            k8s.NodeSelectorRequirement(key="kubernetes.io/hostname", operator="In", values=["node1"])
                        ]
                    )
                ]
            )
        ),
        persistent_volume_reclaim_policy="Retain",
        storage_class_name="kube-ops-docker",
    ),
)
k8s.KubePersistentVolumeClaim(
    chart,
    "persistentvolumeclaim",
    metadata=k8s.ObjectMeta(labels={"app": "docker-dind"}, name="docker", namespace="kube-ops"),
    spec=k8s.PersistentVolumeClaimSpec(
        access_modes=["ReadWriteOnce"],
        resources=k8s.ResourceRequirements(requests={"storage": k8s.Quantity.from_string("50Gi")}),
        storage_class_name="kube-ops-docker",
        volume_name="kube-ops-docker",
    ),
)
k8s.KubeConfigMap(
    chart,
    "configmap",
    metadata=k8s.ObjectMeta(labels={"app": "docker-dind"}, name="docker-dind", namespace="kube-ops"),
    data=data,
)
k8s.KubeDeployment(
    chart,
    "deployment",
    metadata=k8s.ObjectMeta(labels={"app": "docker-dind"}, name="docker-dind", namespace="kube-ops"),
    spec=k8s.DeploymentSpec(
        min_ready_seconds=0,
        progress_deadline_seconds=4260,
        replicas=1,
        selector=k8s.LabelSelector(match_labels={"app": "docker-dind"}),
        strategy=k8s.DeploymentStrategy(type="Recreate"),
        template=k8s.PodTemplateSpec(
            metadata=k8s.ObjectMeta(
                annotations={
                    "checksum/config": checksum,
                    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
                },
                labels={"app": "docker-dind", "cdk8s.io/metadata.addr": "docker-cache-docker-dind-deployment-c89706be"},
            ),
            spec=k8s.PodSpec(
                automount_service_account_token=False,
                containers=[
                    k8s.Container(
                        args=["--tls=false"],
                        command=["sh", "/etc/dindcache/lock.sh", "sh", "/etc/dindcache/start.sh"],
                        env=[k8s.EnvVar(name="DOCKER_TLS_CERTDIR", value="")],
                        image="docker:29.9.3-dind",
                        image_pull_policy="IfNotPresent",
                        lifecycle=k8s.Lifecycle(
                            pre_stop=k8s.LifecycleHandler(
                                exec=k8s.ExecAction(command=["sh", "/etc/dindcache/drain.sh", "1800", "2375"])
                            )
                        ),
                        liveness_probe=k8s.Probe(
                            exec=k8s.ExecAction(command=["sh", "/etc/dindcache/alive.sh"]),
                            failure_threshold=3,
                            period_seconds=10,
                            termination_grace_period_seconds=15,
                            timeout_seconds=5,
                        ),
                        name="docker-dind",
                        ports=[k8s.ContainerPort(container_port=2375, name="daemon-port")],
                        readiness_probe=k8s.Probe(
                            exec=k8s.ExecAction(command=["sh", "/etc/dindcache/ready.sh"]),
                            failure_threshold=3,
                            period_seconds=5,
                            timeout_seconds=5,
                        ),
                        security_context=k8s.SecurityContext(
                            allow_privilege_escalation=True,
                            privileged=True,
                            read_only_root_filesystem=False,
                            run_as_non_root=False,
                        ),
                        startup_probe=k8s.Probe(
                            exec=k8s.ExecAction(command=["sh", "/etc/dindcache/alive.sh"]),
                            failure_threshold=480,
                            period_seconds=5,
                            timeout_seconds=5,
                        ),
                        volume_mounts=[
                            k8s.VolumeMount(mount_path="/var/lib/docker/", name="docker-vol"),
                            k8s.VolumeMount(mount_path="/etc/dindcache", name="scripts", read_only=True),
                            k8s.VolumeMount(mount_path="/etc/docker", name="engine", read_only=True),
                        ],
                    )
                ],
                dns_policy="ClusterFirst",
                host_network=False,
                init_containers=[
                    k8s.Container(
                        command=["sh", "/etc/dindcache/lock.sh", "true"],
                        image="docker:29.9.3-dind",
                        image_pull_policy="IfNotPresent",
                        name="wait-for-lock",
                        security_context=k8s.SecurityContext(
                            allow_privilege_escalation=False,
                            privileged=False,
                            read_only_root_filesystem=True,
                            run_as_non_root=False,
                            run_as_user=0,
                        ),
                        volume_mounts=[
                            k8s.VolumeMount(mount_path="/etc/dindcache", name="scripts", read_only=True),
                            k8s.VolumeMount(mount_path="/var/lib/docker/", name="docker-vol", read_only=True),
                        ],
                    )
                ],
                restart_policy="Always",
                security_context=k8s.PodSecurityContext(fs_group_change_policy="Always", run_as_non_root=False),
                set_hostname_as_fqdn=False,
                termination_grace_period_seconds=1860,
                volumes=[
                    k8s.Volume(
                        name="docker-vol",
                        persistent_volume_claim=k8s.PersistentVolumeClaimVolumeSource(claim_name="docker", read_only=False),
                    ),
                    k8s.Volume(
                        config_map=k8s.ConfigMapVolumeSource(
                            items=[
                                k8s.KeyToPath(key="alive.sh", path="alive.sh"),
                                k8s.KeyToPath(key="drain.sh", path="drain.sh"),
                                k8s.KeyToPath(key="lock.sh", path="lock.sh"),
                                k8s.KeyToPath(key="ready.sh", path="ready.sh"),
                                k8s.KeyToPath(key="start.sh", path="start.sh"),
                            ],
                            name="docker-dind",
                        ),
                        name="scripts",
                    ),
                    k8s.Volume(
                        config_map=k8s.ConfigMapVolumeSource(
                            items=[k8s.KeyToPath(key="daemon.json", path="daemon.json")], name="docker-dind"
                        ),
                        name="engine",
                    ),
                ],
            ),
        ),
    ),
)
k8s.KubeService(
    chart,
    "service",
    metadata=k8s.ObjectMeta(labels={"app": "docker-dind"}, name="docker-dind", namespace="kube-ops"),
    spec=k8s.ServiceSpec(
        ports=[k8s.ServicePort(port=2375, target_port=k8s.IntOrString.from_number(2375))], selector={"app": "docker-dind"}
    ),
)
k8s.KubeCronJob(
    chart,
    "cronjob",
    metadata=k8s.ObjectMeta(labels={"app": "docker-dind"}, name="docker-dind-clear-cache", namespace="kube-ops"),
    spec=k8s.CronJobSpec(
        concurrency_policy="Forbid",
        failed_jobs_history_limit=3,
        job_template=k8s.JobTemplateSpec(
            metadata=k8s.ObjectMeta(labels={"app": "docker-dind"}),
            spec=k8s.JobSpec(
                active_deadline_seconds=3600,
                backoff_limit=2,
                template=k8s.PodTemplateSpec(
                    metadata=k8s.ObjectMeta(labels={"cdk8s.io/metadata.addr": "docker-cache-clear-cache-cron-job-c84611f4"}),
                    spec=k8s.PodSpec(
                        automount_service_account_token=False,
                        containers=[
                            k8s.Container(
                                command=["docker", "image", "prune", "-af"],
                                env=[k8s.EnvVar(name="DOCKER_HOST", value="tcp://docker-dind:2375")],
                                image="docker:29.9.3-cli",
                                image_pull_policy="IfNotPresent",
                                name="clear-cache",
                                security_context=k8s.SecurityContext(
                                    allow_privilege_escalation=False,
                                    privileged=False,
                                    read_only_root_filesystem=True,
                                    run_as_group=1000,
                                    run_as_non_root=True,
                                    run_as_user=1000,
                                ),
                            )
                        ],
                        dns_policy="ClusterFirst",
                        host_network=False,
                        restart_policy="OnFailure",
                        security_context=k8s.PodSecurityContext(fs_group_change_policy="Always", run_as_non_root=True),
                        set_hostname_as_fqdn=False,
                        termination_grace_period_seconds=30,
                    ),
                ),
            ),
        ),
        schedule="0 0 * * 0",
        starting_deadline_seconds=21600,
        successful_jobs_history_limit=1,
        suspend=False,
    ),
)
app.synth()
