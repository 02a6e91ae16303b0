"""Split MNIST, class-incremental: 5 experiences of 2 digits, one head, one pass, batches of 10.

    python benchmarks/split_mnist.py --seeds 3 --out runs/split-mnist

Published, class-incremental: ER and DER++ as the authors of DER report them, CLS-ER from its authors' repository.
"""

from options import compare, options

RECIPES = [
    "naive",
    "lwf",
    "lwf-mc",
    "fdr",
    "er",
    "er-ace",
    "er-las",
    "der",
    "der++",
    "self-distillation",
    "lode",
    "ser",
    "x-der",
    "wa",
    "bic",
    "ss-il",
    "icarl",
    "bfp",
    "mean-er",
    "cls-er",
    "ballast",
    "joint",
]
PUBLISHED = {
    ("er", 200): 80.4,
    ("er", 500): 86.1,
    ("er", 5120): 93.4,
    ("cls-er", 200): 89.54,
    ("cls-er", 500): 92.05,
    ("cls-er", 5120): 95.73,
    ("der++", 200): 85.6,
    ("der++", 500): 91.0,
    ("der++", 5120): 95.3,
}

if __name__ == "__main__":
    compare("split-mnist", RECIPES, options(__doc__), PUBLISHED)
