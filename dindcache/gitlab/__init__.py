"""A daemon, said to GitLab: text that a Runner and pipelines read, no objects of a cluster."""

from dindcache.gitlab.runner import GitLabRunner
from dindcache.gitlab.template import GitLabTemplate

__all__ = ["GitLabRunner", "GitLabTemplate"]
