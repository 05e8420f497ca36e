"""The namespaces of daemons and jobs."""

import pytest
from cdk8s import App, Chart

from dindcache import BuildNamespace, PodSecurity


def test_the_namespace_of_the_chart_admits_a_daemon(chart, find):
    assert BuildNamespace(chart, "namespace").name == "kube-ops"
    assert find("Namespace")["metadata"] == {
        "name": "kube-ops",
        "labels": {"pod-security.kubernetes.io/enforce": "privileged"},
    }


@pytest.mark.parametrize("level", PodSecurity)
def test_another_namespace_enforces_a_level(chart, find, level):
    BuildNamespace(chart, "jobs", name="gitlab-jobs", pod_security=level)
    labels = find("Namespace", "gitlab-jobs")["metadata"]["labels"]
    assert labels == {"pod-security.kubernetes.io/enforce": level.value}


def test_a_name_that_cannot_be_told_is_rejected(chart):
    with pytest.raises(ValueError, match="name must be given where the chart has no namespace, got None"):
        BuildNamespace(Chart(App(), "test"), "namespace")
    with pytest.raises(ValueError, match="name must be at most 63 .* got 'CI'"):
        BuildNamespace(chart, "namespace", name="CI")
