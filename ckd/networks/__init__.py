"""The networks of the published protocols, small ones for CPUs, and one's own."""

from ckd.networks.registry import NETWORKS, STAGES, check_network, convolutional, layer_pairs, network
from ckd.networks.transformer import TextTransformer

__all__ = ["NETWORKS", "STAGES", "TextTransformer", "check_network", "convolutional", "layer_pairs", "network"]
