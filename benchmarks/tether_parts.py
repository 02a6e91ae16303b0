"""What each part of tether is worth: permuted MNIST at memory 200 with parts left out, and with parts alone.

    python benchmarks/tether_parts.py --seeds 3 --jobs 2 --out runs/tether-parts

All at tether's learning rate, which not every part bears alone: what diverged is said and left out.
"""

from options import options
from parts import FLAGS, compare_parts

LABELS, LOGITS, COLLAGES = "rehearsal_weight", "logit_weight", "distill_weight"
ANCHOR, AVERAGE, LIMIT = "anchor_weight", "decay", "limit_factor"
PARTS = {
    "tether": {},
    "without the anchor": {ANCHOR: 0.0},
    "without collages": {COLLAGES: 0.0},
    "without rehearsal of labels": {LABELS: 0.0},
    "without stored logits": {LOGITS: 0.0},
    "without the average": {AVERAGE: 0.0},
    "without the step limit": {LIMIT: 0.0},
    "samples as they are in place of collages": {"collage_of": 1},
    "anchor of rank 50": {"anchor_rank": 50},
    "anchor and average": {LABELS: 0.0, LOGITS: 0.0, COLLAGES: 0.0},
    "average and rehearsal": {ANCHOR: 0.0, COLLAGES: 0.0},
    "anchor alone": {LABELS: 0.0, LOGITS: 0.0, COLLAGES: 0.0, AVERAGE: 0.0},
    "collages alone": {ANCHOR: 0.0, LABELS: 0.0, LOGITS: 0.0, AVERAGE: 0.0},
    "rehearsal alone": {ANCHOR: 0.0, COLLAGES: 0.0, AVERAGE: 0.0},
}

if __name__ == "__main__":
    compare_parts("permuted-mnist", "tether", PARTS, options(__doc__, **FLAGS))
