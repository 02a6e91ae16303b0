"""The networks of the published protocols, small ones for CPUs, and one's own."""

from ckd.networks.registry import NETWORKS, STAGES, check_network, convolutional, layer_pairs, network

__all__ = ["NETWORKS", "STAGES", "check_network", "convolutional", "layer_pairs", "network"]
