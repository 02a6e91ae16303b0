"""Split CIFAR-10, class-incremental: 5 experiences of 2 classes, crop and flip.

    python benchmarks/split_cifar.py --out runs/split-cifar10                           # 2,000 images a class, 3 epochs
    python benchmarks/split_cifar.py --device cuda --full --out runs/split-cifar10-full # ResNet18, 50 epochs
    python benchmarks/split_cifar.py --online --out runs/split-cifar10-online           # SlimResNet18, one pass

The published numbers (Buzzega et al. 2020, arXiv:2004.07211, table 2) are of the full protocol only.
"""

import sys

from options import compare, options

RECIPES = [
    "naive",
    "lwf",
    "lwf-mc",
    "fdr",
    "er",
    "er-ace",
    "er-las",
    "der++",
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
]
PUBLISHED = {
    ("naive", 0): 19.62,
    ("lwf", 0): 19.61,
    ("er", 200): 44.79,
    ("er", 500): 57.74,
    ("er", 5120): 82.47,
    ("mean-er", 200): 61.9,
    ("mean-er", 500): 70.4,
    ("bfp", 200): 68.6,
    ("bfp", 500): 73.5,
    ("cls-er", 200): 66.19,
    ("cls-er", 500): 75.22,
    ("cls-er", 5120): 86.78,
    ("der++", 200): 64.88,
    ("der++", 500): 72.70,
    ("der++", 5120): 85.24,
}
if __name__ == "__main__":
    chosen = options(
        __doc__,
        full="the published protocol: ResNet18, 50 epochs, all images",
        online="SlimResNet18, one pass over all images, 10 of the stream and 10 of the memory a step",
    )
    if chosen.full and chosen.online:
        sys.exit("split_cifar.py: choose one of --full and --online")
    variant = "full" if chosen.full else "online" if chosen.online else None
    compare("split-cifar10", RECIPES, chosen, PUBLISHED if chosen.full else None, variant=variant)
