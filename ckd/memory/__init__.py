"""What is remembered: tensor columns, and policies that admit and evict."""

from ckd.memory.balanced import Balanced
from ckd.memory.boundary import BoundaryMemory
from ckd.memory.herded import HerdedMemory
from ckd.memory.memory import Memory
from ckd.memory.policy import Policy
from ckd.memory.refreshed import RefreshedMemory, implanted
from ckd.memory.reservoir import Reservoir
from ckd.rows import Rows

__all__ = [
    "Balanced",
    "BoundaryMemory",
    "HerdedMemory",
    "Memory",
    "Policy",
    "RefreshedMemory",
    "Reservoir",
    "Rows",
    "implanted",
]
