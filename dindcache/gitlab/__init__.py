"""A daemon for GitLab: text that a Runner and pipelines read, and no object of a cluster."""

from dindcache.gitlab.ci import GitLabCi
from dindcache.gitlab.runner import GitLabRunner

__all__ = ["GitLabCi", "GitLabRunner"]
