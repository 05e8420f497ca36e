"""Pages whose shell blocks run on a cluster."""

RUN: dict[str, str] = {}
