"""What the benchmarks on a cluster are told on their command line."""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path


def parser(description: str | None, results: str) -> ArgumentParser:
    """Of the cluster, its mirror and where the results go.

    :param description: of the benchmark
    :param results: which files it writes
    """
    made = ArgumentParser(description=description, formatter_class=RawDescriptionHelpFormatter)
    made.add_argument("kubeconfig")
    made.add_argument("registry_mirror", nargs="?")
    made.add_argument("--results", type=Path, default=Path(__file__).parent / "results", help=f"directory for {results}")
    return made
