import re

import pytest
from cdk8s import App, Chart, Cron, Duration, Size

from dindcache import ClaimedVolume, DindDaemon, Prune, PruneSchedule, Retention

NAME = "docker-dind-clear-cache"


@pytest.fixture
def daemon(chart):
    return DindDaemon(chart, "docker-dind", volume=ClaimedVolume(chart, "docker", storage=Size.gibibytes(50)))


def test_prune_schedule(chart, golden, daemon):
    PruneSchedule(chart, "clear-cache", daemon=daemon, schedule=Cron.weekly())
    golden(chart)


def test_prune_everything(chart, find, daemon):
    PruneSchedule(
        chart,
        "clear-all",
        daemon=daemon,
        schedule=Cron.schedule(minute="*/30", hour="1-5", week_day="mon-fri"),
        time_zone="Europe/Berlin",
        prune=Prune.EVERYTHING,
        image="registry.example/docker:cli",
    )
    spec = find("CronJob", "docker-dind-clear-all")["spec"]
    assert spec["schedule"] == "*/30 1-5 * * mon-fri"
    assert spec["timeZone"] == "Europe/Berlin"
    assert spec["concurrencyPolicy"] == "Forbid"
    container = spec["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    assert container["command"] == ["docker", "system", "prune", "-af"]
    assert container["image"] == "registry.example/docker:cli"
    assert container["env"][0] == {"name": "DOCKER_HOST", "value": "tcp://docker-dind:2376"}
    assert container["volumeMounts"] == [{"mountPath": "/certs/client", "name": "docker-certificate", "readOnly": True}]


def test_retention_and_ages_reach_the_script(chart, find):
    retention = Retention(images=["base/*:1", "postgres"], volumes=["maven-*"], max_job_duration=Duration.hours(4))
    volume = ClaimedVolume(chart, "docker", storage=Size.gibibytes(50))
    daemon = DindDaemon(chart, "docker-dind", volume=volume, retention=retention)
    PruneSchedule(chart, "clear-cache", daemon=daemon, schedule=Cron.weekly(), unused_for=Duration.days(14))
    container = find("CronJob", NAME)["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    assert container["command"] == ["sh", "/etc/dindcache/prune.sh"]
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    assert (
        environment.items()
        >= {
            "KEEP_IMAGES": "base/*:1 postgres",
            "KEEP_VOLUMES": "maven-*",
            "MAX_JOB_SECONDS": "14400",
            "UNUSED_SECONDS": "1209600",
        }.items()
    )


def test_each_script_has_the_scripts_that_it_sources(chart, daemon):
    PruneSchedule(chart, "clear-cache", daemon=daemon, schedule=Cron.weekly())
    for config_map in (manifest for manifest in chart.to_json() if manifest["kind"] == "ConfigMap"):
        for text in config_map["data"].values():
            assert set(re.findall(r"/([a-z-]+\.sh)\"", text)) <= config_map["data"].keys()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"unused_for": Duration.minutes(119)}, "at least max_job_duration of the daemon, 7200 s, got 7140 s"),
        ({"unused_for": Duration.millis(1500)}, "a whole number of seconds, from 1 to 2147483647, got 1.5 s"),
        ({"unused_for": Duration.days(8), "prune": Prune.EVERYTHING}, "left out with Prune.EVERYTHING, got 691200 s"),
    ],
)
def test_an_age_that_does_not_fit_is_rejected(chart, daemon, arguments, message):
    with pytest.raises(ValueError, match=f"unused_for must be {message}"):
        PruneSchedule(chart, "clear-cache", daemon=daemon, schedule=Cron.weekly(), **arguments)
    PruneSchedule(chart, "clear-cache", daemon=daemon, schedule=Cron.weekly(), unused_for=Duration.hours(2))


# Each was tried in Engine 27, 28 and 29 with `docker images --all --filter reference=` and images of such names.
@pytest.mark.parametrize(
    "pattern",
    [
        *("postgres", "postgres:17", "pos*", "postgre?", "p*7", "postgres?17", "*", "team/*"),
        *("registry.example/*/*:1", "*/base/*", "registry.example*/base/app", "*:5000/base/app:1", "registry.example:*/*/*"),
        *("Registry/app", "R*/app", "localhost/app", "a_b/c__d/e--f.g", "postgres@*", "postgres@sha256:*"),
    ],
)
def test_a_pattern_that_an_image_can_match_is_accepted(pattern):
    assert Retention(images=[pattern]).environment["KEEP_IMAGES"] == pattern


@pytest.mark.parametrize(
    "pattern",
    [
        *("", "app:1 other", "app[1]", "app{1,2}", "https://registry.example/x?y=z", "-x", "_x", "x-", "x..y", "app//x"),
        # Names are shown without these prefixes, and have no upper-case letters after the registry.
        *("docker.io/library/busybox", "docker.io/team/app", "index.docker.io/team/app", "library/postgres", "Postgres", "a/B"),
        *("app:", "app/", "/app", "app:1:2", "app:-1", "app@", "app@md5:1", "app:1@sha256:*"),
    ],
)
def test_a_pattern_that_no_image_can_match_is_rejected(pattern):
    with pytest.raises(ValueError, match="images must be a name as `docker images` shows it, .* got "):
        Retention(images=[pattern])


def test_patterns_of_volumes():
    assert Retention(volumes=["maven-*", "??", "*", "db.1"]).environment["KEEP_VOLUMES"] == "maven-* ?? * db.1"
    # A name has at least two characters.
    for pattern in ("", "a", "?", "a b", "-a", "a/b", "[ab]c"):
        with pytest.raises(ValueError, match="volumes must be the name of a volume, .* got "):
            Retention(volumes=[pattern])


@pytest.mark.parametrize(("duration", "got"), [(Duration.millis(500), r"0\.5 s"), (Duration.seconds(0), "0 s")])
def test_a_job_takes_whole_seconds(duration, got):
    with pytest.raises(ValueError, match=f"max_job_duration must be a whole number of seconds, from 1 .* got {got}"):
        Retention(max_job_duration=duration)


def test_the_service_does_not_select_the_job_pods(chart, find, daemon):
    PruneSchedule(chart, "clear-cache", daemon=daemon, schedule=Cron.weekly())
    job = find("CronJob", NAME)["spec"]["jobTemplate"]
    assert job["metadata"]["labels"] == {"app": "docker-dind"}
    assert "app" not in job["spec"]["template"]["metadata"]["labels"]


@pytest.mark.parametrize(
    "field",
    [
        {"minute": "60"},
        {"minute": "99"},
        {"minute": "-1"},
        {"minute": "x"},
        {"minute": "*/0"},
        {"minute": "10-5"},
        {"minute": "1,"},
        {"minute": "1.5"},
        {"minute": "٣"},
        {"hour": "24"},
        {"day": "0"},
        {"day": "32"},
        {"day": "L"},
        {"month": "13"},
        {"month": "january"},
        {"week_day": "7"},
        {"week_day": "fri#2"},
    ],
)
def test_a_field_out_of_its_range_is_rejected(chart, daemon, field):
    name = next(iter(field)).replace("_", " ")
    with pytest.raises(ValueError, match=f"schedule must have .* as its {name}, got "):
        PruneSchedule(chart, "clear-cache", daemon=daemon, schedule=Cron.schedule(**field))
    PruneSchedule(chart, "clear-cache", daemon=daemon, schedule=Cron.weekly())


@pytest.mark.parametrize("minute", ["0 0", "0 0 0", ""])
def test_another_number_of_fields_is_rejected(chart, daemon, minute):
    with pytest.raises(ValueError, match="schedule must have five fields, got "):
        PruneSchedule(chart, "clear-cache", daemon=daemon, schedule=Cron(minute=minute))


@pytest.mark.parametrize(
    "field", [{"minute": "0,15-45/5"}, {"month": "JAN,mar-dec"}, {"week_day": "sun"}, {"day": "?"}, {"hour": "8/4"}]
)
def test_what_the_controller_accepts_is_accepted(chart, find, daemon, field):
    PruneSchedule(chart, "clear-cache", daemon=daemon, schedule=Cron.schedule(**field))
    assert next(iter(field.values())) in find("CronJob", NAME)["spec"]["schedule"].split()


@pytest.mark.parametrize("time_zone", ["", "Local", "Mars/Phobos", "europe"])
def test_an_unknown_time_zone_is_rejected(chart, daemon, time_zone):
    with pytest.raises(ValueError, match=f"time_zone must be a name of the IANA database .* got '{time_zone}'"):
        PruneSchedule(chart, "clear-cache", daemon=daemon, schedule=Cron.weekly(), time_zone=time_zone)
    PruneSchedule(chart, "clear-cache", daemon=daemon, schedule=Cron.weekly(), time_zone="UTC")


def test_a_daemon_of_another_namespace_is_rejected_and_the_id_stays_free():
    chart = Chart(App(), "test")
    daemon = DindDaemon(chart, "docker-dind", volume=ClaimedVolume(chart, "docker", storage=Size.gibibytes(1)))
    other = Chart(App(), "other", namespace="elsewhere")
    for _ in range(2):
        with pytest.raises(ValueError, match="chart of daemon 'docker-dind' must have a namespace .* in 'elsewhere', got None"):
            PruneSchedule(other, "clear-cache", daemon=daemon, schedule=Cron.weekly())


def test_bad_names_are_rejected(chart, daemon):
    with pytest.raises(ValueError, match="id must be at most 63 lower-case letters, .* got 'Clear_Cache'"):
        PruneSchedule(chart, "Clear_Cache", daemon=daemon, schedule=Cron.weekly())
    with pytest.raises(ValueError, match="name must be at most 52 .* got 'docker-dind-ccc"):
        PruneSchedule(chart, "c" * 41, daemon=daemon, schedule=Cron.weekly())
    PruneSchedule(chart, "c" * 40, daemon=daemon, schedule=Cron.weekly())
    with pytest.raises(ValueError, match="CronJob 'docker-dind-certs' must be unique in an app, got it in "):
        PruneSchedule(chart, "certs", daemon=daemon, schedule=Cron.weekly())
