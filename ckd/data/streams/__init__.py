"""Streams from arrays: by classes, by permutations of the pixels, by rotations."""

from ckd.data.streams.permuted import permuted
from ckd.data.streams.rotated import rotated
from ckd.data.streams.split import shuffled, split

__all__ = ["permuted", "rotated", "shuffled", "split"]
