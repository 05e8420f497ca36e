"""The budget of the build cache, as each release of the engine reads it."""

from typing import Any

import pytest
from cdk8s import Duration, Size

from dindcache import BuildCache, CacheRule, ClaimedVolume, DindDaemon


def settings(storage: Size | None = None, release: int = 29, **sizes: Any) -> Any:
    return BuildCache(**sizes).settings(storage=storage or Size.gibibytes(50), release=release)


def policy(storage: Size | None = None, release: int = 29, **sizes: Any) -> Any:
    collection = settings(storage, release, **sizes)["gc"]
    assert collection["enabled"] is True
    return collection["policy"]


def test_the_build_cache_has_half_of_the_volume_and_leaves_a_fifth_free():
    assert policy() == [
        {"filter": ["type=source.local", "until=72h"], "maxUsedSpace": "10GiB"},
        {"filter": ["type=source.git.checkout", "until=72h"], "maxUsedSpace": "10GiB"},
        {"filter": ["type=exec.cachemount", "until=336h"], "maxUsedSpace": "10GiB"},
        {"reservedSpace": "10GiB", "maxUsedSpace": "25GiB", "minFreeSpace": "10GiB"},
        {"all": True, "maxUsedSpace": "25GiB"},
    ]


@pytest.mark.parametrize(
    ("storage", "sizes"),
    [
        (Size.gibibytes(5), ("1GiB", "2560MiB", "1GiB")),  # the article's
        (Size.gibibytes(12), ("2457MiB", "6GiB", "2457MiB")),
        (Size.mebibytes(600), ("120MiB", "300MiB", "120MiB")),
        (Size.kibibytes(5427), ("1MiB", "2MiB", "1MiB")),
        (Size.tebibytes(2), ("419430MiB", "1024GiB", "419430MiB")),
    ],
)
def test_the_budget_derives_from_the_volume(storage, sizes):
    rest = policy(storage=storage)[-2]
    assert (rest["reservedSpace"], rest["maxUsedSpace"], rest["minFreeSpace"]) == sizes


def test_an_older_engine_gets_the_one_size_that_it_knows():
    assert policy(release=27, max_used_space=Size.gibibytes(20)) == [
        {"filter": ["type=source.local", "until=72h"], "keepStorage": "10GiB"},
        {"filter": ["type=source.git.checkout", "until=72h"], "keepStorage": "10GiB"},
        {"filter": ["type=exec.cachemount", "until=336h"], "keepStorage": "10GiB"},
        {"keepStorage": "20GiB"},
        {"all": True, "keepStorage": "20GiB"},
    ]
    assert policy(release=27)[-1] == {"all": True, "keepStorage": "25GiB"}
    assert policy(release=27, max_used_space=Size.gibibytes(50))[-1] == {"all": True, "keepStorage": "50GiB"}


def test_a_default_makes_way_for_a_given_size():
    assert policy(max_used_space=Size.gibibytes(5))[-2]["reservedSpace"] == "5GiB"
    assert policy(min_free_space=Size.gibibytes(30))[-2]["maxUsedSpace"] == "20GiB"


def test_build_records_are_bounded():
    assert settings()["history"] == {"maxAge": "1h", "maxEntries": 1000}


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (Duration.days(14), "336h"),
        (Duration.minutes(90), "90m"),
        (Duration.seconds(5400), "90m"),
        (Duration.seconds(61), "61s"),
        (Duration.seconds(9223372036), "9223372036s"),
    ],
)
def test_a_duration_is_written_as_go_parses_it(duration, text):
    assert policy(cache_mounts=CacheRule(unused_for=duration))[2]["filter"] == ["type=exec.cachemount", f"until={text}"]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"reserved_space": Size.gibibytes(0)}, "reserved_space must be a whole number of KiB, from 1 .* got '0Gi'"),
        ({"max_used_space": Size.kibibytes(0)}, "max_used_space must be a whole number of KiB, from 1 .* got '0Ki'"),
        ({"min_free_space": Size.mebibytes(0.3)}, "min_free_space must be a whole number of KiB, .* got '0.3Mi'"),
        ({"min_free_space": Size.kibibytes(10**21)}, "min_free_space must be a whole number of KiB, .* got '1e\\+21Ki'"),
        (
            {"max_used_space": Size.gibibytes(85)},
            "max_used_space must be at most 40GiB on a volume of 50GiB with min_free_space of 10GiB .the default., got 85GiB",
        ),
        (
            {"max_used_space": Size.gibibytes(40), "min_free_space": Size.kibibytes(10 * 1024 * 1024 + 1)},
            "max_used_space must be at most 41943039KiB on a volume of 50GiB with min_free_space of 10485761KiB, got 40GiB",
        ),
        ({"min_free_space": Size.gibibytes(50)}, "min_free_space must be less than the volume of 50GiB, got 50GiB"),
        (
            {"max_used_space": Size.gibibytes(20), "reserved_space": Size.gibibytes(21)},
            "reserved_space must be at most max_used_space, 20GiB, got 21GiB",
        ),
        (
            {"reserved_space": Size.gibibytes(30)},
            r"reserved_space must be at most max_used_space, 25GiB \(the default\), got 30GiB",
        ),
        (
            {"sources": CacheRule(unused_for=Duration.days(1), when_larger_than=Size.gibibytes(26))},
            "when_larger_than of sources must be at most max_used_space, 25GiB, got 26GiB",
        ),
        (
            {"cache_mounts": CacheRule(unused_for=Duration.days(1), when_larger_than=Size.gibibytes(26))},
            "when_larger_than of cache_mounts must be at most max_used_space, 25GiB, got 26GiB",
        ),
    ],
)
def test_a_bad_budget_is_rejected_and_the_id_stays_free(chart, bad, message):
    volume = ClaimedVolume(chart, "docker", storage=Size.gibibytes(50))
    with pytest.raises(ValueError, match=message):
        DindDaemon(chart, "docker-dind", volume=volume, build_cache=BuildCache(**bad))
    DindDaemon(chart, "docker-dind", volume=volume)


def test_cdk8s_rejects_a_negative_size():
    with pytest.raises(RuntimeError, match="cannot be negative. Received: -1"):
        BuildCache(max_used_space=Size.gibibytes(-1))


def test_an_older_engine_without_a_minimum_of_free_space_names_the_volume_only():
    with pytest.raises(ValueError, match="max_used_space must be at most 50GiB on a volume of 50GiB, got 51GiB"):
        policy(release=27, max_used_space=Size.gibibytes(51))


@pytest.mark.parametrize("what", ["reserved_space", "min_free_space"])
def test_an_older_engine_does_not_get_a_size_that_it_ignores(what):
    with pytest.raises(ValueError, match=f"{what} must be left out before Engine 28, got '1Gi' for Engine 27"):
        policy(release=27, **{what: Size.gibibytes(1)})


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"unused_for": Duration.days(0)}, "unused_for must be a whole number of seconds, from 1 to 9223372036, got 0 s"),
        ({"unused_for": Duration.days(106752)}, r"from 1 to 9223372036, got 9.22337e\+09 s"),
        ({"unused_for": Duration.millis(1500)}, "unused_for must be a whole number of seconds, .* got 1.5 s"),
        (
            {"unused_for": Duration.days(1), "when_larger_than": Size.gibibytes(0)},
            "when_larger_than must be a whole number of KiB, .* got '0Gi'",
        ),
    ],
)
def test_a_bad_rule_is_rejected(bad, message):
    with pytest.raises(ValueError, match=message):
        CacheRule(**bad)
