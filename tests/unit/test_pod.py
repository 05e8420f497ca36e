"""The options of all pods of a daemon."""

import pytest
from cdk8s_plus_27 import k8s

from dindcache import PodOptions


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"image_pull_secrets": ["Registry"]}, "image_pull_secrets must be .* got 'Registry'"),
        ({"priority_class_name": "High"}, "priority_class_name must be .* got 'High'"),
        ({"annotations": {"bad key!": "a"}}, "key of annotations must be .* got 'bad key!'|annotations must be a name .* got"),
        ({"labels": {"a/b/c": "a"}}, "prefix of key of labels must be .* got 'a/b'"),
        ({"labels": {"team": "a b"}}, "labels 'team' must be at most 63 letters, .* got 'a b'"),
        ({"labels": {"app": "docker"}}, "labels must leave 'app' and 'dindcache/…' to the daemon, got 'app'"),
        ({"labels": {"dindcache/client": "true"}}, "labels must leave .* got 'dindcache/client'"),
        (
            {"tolerations": [k8s.Toleration(key="bad key!", operator="Exists")]},
            "key of tolerations must be .* got 'bad key!'",
        ),
        (
            {"tolerations": [k8s.Toleration(operator="Equal")]},
            "operator of tolerations must be 'Exists', .* got 'Equal' and None",
        ),
        (
            {"tolerations": [k8s.Toleration(key="a", operator="In")]},
            "operator of tolerations must be 'Exists', .* got 'In' and 'a'",
        ),
        (
            {"tolerations": [k8s.Toleration(key="a", operator="Exists", value="b")]},
            "value of tolerations must be left out with 'Exists', got 'b'",
        ),
        (
            {"tolerations": [k8s.Toleration(key="a", operator="Exists", effect="Never")]},
            "effect of tolerations must be 'NoSchedule', .* got 'Never'",
        ),
    ],
)
def test_bad_options_are_rejected(bad, message):
    with pytest.raises(ValueError, match=message):
        PodOptions(**bad)


def test_given_options_override_the_others():
    own = PodOptions(priority_class_name="high", labels={"team": "ci"}, image_pull_secrets=["a"])
    other = PodOptions(priority_class_name="low", image_pull_secrets=[])
    assert own.override(other) == PodOptions(priority_class_name="low", labels={"team": "ci"}, image_pull_secrets=[])
    assert own.override(None) == own


def test_only_given_options_are_fields_of_a_pod():
    assert PodOptions().spec() == {}
    toleration = k8s.Toleration(key="a", operator="Equal", value="b", effect="NoExecute", toleration_seconds=0)
    assert PodOptions(tolerations=[toleration]).spec() == {
        "tolerations": [{"key": "a", "operator": "Equal", "value": "b", "effect": "NoExecute", "tolerationSeconds": 0}]
    }
