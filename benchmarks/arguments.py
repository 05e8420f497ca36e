"""Command-line arguments of the benchmarks that run on a cluster."""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path


def parser(description: str | None, results: str) -> ArgumentParser:
    """Return a parser of the cluster, its mirror and the directory for results.

    :param description: Description of the benchmark
    :param results: Names of the files that it writes
    """
    made = ArgumentParser(description=description, formatter_class=RawDescriptionHelpFormatter)
    made.add_argument("kubeconfig")
    made.add_argument("registry_mirror", nargs="?")
    made.add_argument("--results", type=Path, default=Path(__file__).parent / "results", help=f"directory for {results}")
    return made
