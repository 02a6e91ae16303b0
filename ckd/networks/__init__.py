"""The networks of the published protocols, and small ones for CPUs."""

from ckd.networks.registry import NETWORKS, convolutional, network

__all__ = ["NETWORKS", "convolutional", "network"]
