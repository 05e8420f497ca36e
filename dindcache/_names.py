"""Names of objects: which scope they live in, and that two constructs of a chart never write the same one."""

from cdk8s import Chart
from constructs import Construct


def cluster_name(chart: Chart, id: str) -> str:
    """A default for an object without a namespace: charts of two namespaces must not write the same one."""
    namespace = chart.namespace
    return f"{namespace}-{id}" if namespace else id


def is_taken(owner: Construct, use: str) -> bool:
    """Whether ``take`` was called for this use of ``owner``."""
    return owner.node.try_find_child(use) is not None


def take(owner: Construct, use: str) -> None:
    """Remember the use in the construct tree: a lookup costs the same however many there are, and nothing is synthesized."""
    Construct(owner, use)
