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


def test_what_is_kept_reaches_the_script(chart, find):
    volume = ClaimedVolume(chart, "docker", storage=Size.gibibytes(50))
    keep = Retention(images=["registry.example/base/*:1", "postgres"], max_job_duration=Duration.hours(4))
    daemon = DindDaemon(chart, "docker-dind", volume=volume, keep=keep)
    PruneSchedule(chart, "clear-cache", daemon=daemon, schedule=Cron.weekly(), unused_for=Duration.days(14))
    container = find("CronJob", NAME)["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    script = ["sh", "/etc/dindcache/prune.sh", "1209600", "14400"]
    assert container["command"] == [*script, "registry.example/base/*:1", "postgres"]
    assert set(find("ConfigMap", NAME)["data"]) == {"prune.sh", "unused.sh"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"unused_for": Duration.minutes(119)}, r"at least the daemon's max_job_duration \(7200 s\), got 7140 s"),
        ({"unused_for": Duration.millis(1500)}, "whole seconds, got 1.5 s"),
        ({"unused_for": "14d"}, r"a Duration such as Duration.days\(14\), got '14d'"),
        (
            {"unused_for": Duration.days(8), "prune": Prune.EVERYTHING},
            "left to Prune.UNUSED, got 691200 s with Prune.EVERYTHING",
        ),
    ],
)
def test_an_age_that_cannot_be_is_refused(chart, daemon, arguments, message):
    with pytest.raises(ValueError, match=f"unused_for must be {message}"):
        PruneSchedule(chart, "clear-cache", daemon=daemon, schedule=Cron.weekly(), **arguments)
    PruneSchedule(chart, "clear-cache", daemon=daemon, schedule=Cron.weekly(), unused_for=Duration.hours(2))


@pytest.mark.parametrize(
    "pattern", ["", "app:1 other", "docker.io/library/busybox", "app[", "app{1,2}", "https://registry.example/x?y=z"]
)
def test_a_pattern_that_no_image_matches_is_refused(pattern):
    with pytest.raises(ValueError, match="image to keep must be a name as docker images shows it, .* got "):
        Retention(images=[pattern])


def test_what_else_keeps_nothing_is_refused():
    with pytest.raises(ValueError, match="images to keep must be a list, got 'app'"):
        Retention(images="app")
    with pytest.raises(ValueError, match=r"max_job_duration must be whole seconds, got 0\.5 s"):
        Retention(max_job_duration=Duration.millis(500))
    with pytest.raises(ValueError, match="max_job_duration must be at least a second, got 0 s"):
        Retention(max_job_duration=Duration.seconds(0))


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
def test_a_field_out_of_its_range_is_refused(chart, daemon, field):
    with pytest.raises(ValueError, match=rf"schedule's {next(iter(field)).replace('_', ' ')} must be .* got "):
        PruneSchedule(chart, "clear-cache", daemon=daemon, schedule=Cron.schedule(**field))
    PruneSchedule(chart, "clear-cache", daemon=daemon, schedule=Cron.weekly())


@pytest.mark.parametrize("minute", ["0 0", "0 0 0", ""])
def test_another_number_of_fields_is_refused(chart, daemon, minute):
    with pytest.raises(ValueError, match="schedule must have five fields, got "):
        PruneSchedule(chart, "clear-cache", daemon=daemon, schedule=Cron(minute=minute))


@pytest.mark.parametrize(
    "field", [{"minute": "0,15-45/5"}, {"month": "JAN,mar-dec"}, {"week_day": "sun"}, {"day": "?"}, {"hour": "8/4"}]
)
def test_what_the_controller_takes_is_taken(chart, find, daemon, field):
    PruneSchedule(chart, "clear-cache", daemon=daemon, schedule=Cron.schedule(**field))
    assert next(iter(field.values())) in find("CronJob", NAME)["spec"]["schedule"].split()


@pytest.mark.parametrize("time_zone", ["", "Local", "Mars/Phobos", "europe"])
def test_an_unknown_time_zone_is_refused(chart, daemon, time_zone):
    with pytest.raises(ValueError, match=f"time zone must be one of the IANA database, .* got '{time_zone}'"):
        PruneSchedule(chart, "clear-cache", daemon=daemon, schedule=Cron.weekly(), time_zone=time_zone)
    PruneSchedule(chart, "clear-cache", daemon=daemon, schedule=Cron.weekly(), time_zone="UTC")


def test_a_daemon_that_cannot_be_named_is_refused_and_the_id_stays_free():
    chart = Chart(App(), "test")
    daemon = DindDaemon(chart, "docker-dind", volume=ClaimedVolume(chart, "docker", storage=Size.gibibytes(1)))
    other = Chart(App(), "other", namespace="elsewhere")
    for _ in range(2):
        with pytest.raises(ValueError, match="daemon's chart must have a namespace .* got 'elsewhere'"):
            PruneSchedule(other, "clear-cache", daemon=daemon, schedule=Cron.weekly())


def test_bad_names_are_refused(chart, daemon):
    with pytest.raises(ValueError, match="prune schedule's id .* got 'Clear_Cache'"):
        PruneSchedule(chart, "Clear_Cache", daemon=daemon, schedule=Cron.weekly())
    with pytest.raises(ValueError, match="prune schedule's name must be at most 52 .* got 'docker-dind-ccc"):
        PruneSchedule(chart, "c" * 41, daemon=daemon, schedule=Cron.weekly())
    PruneSchedule(chart, "c" * 40, daemon=daemon, schedule=Cron.weekly())
    with pytest.raises(ValueError, match="prune schedule's name must be unique in a chart, got 'docker-dind-certs' twice"):
        PruneSchedule(chart, "issuer", daemon=daemon, schedule=Cron.weekly())
