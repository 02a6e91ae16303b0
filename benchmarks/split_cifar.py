"""Split CIFAR-10, class-incremental: 5 experiences of 2 classes, crop and flip.

    python benchmarks/split_cifar.py --seeds 1 --out runs/split-cifar10                 # 2,000 images a class, 3 epochs
    python benchmarks/split_cifar.py --device cuda --full --out runs/split-cifar10-full # ResNet18, 50 epochs

The published numbers (Buzzega et al. 2020, arXiv:2004.07211, table 2) are of the full protocol only.
"""

from options import compare, options

RECIPES = ["naive", "lwf", "er", "der++", "er-ace", "wa", "bfp", "bic", "icarl", "mean-er", "cls-er"]
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
FULL = {"network": "resnet18", "epochs": 50, "samples_per_class": "all"}

if __name__ == "__main__":
    chosen = options(__doc__, full="the published protocol: ResNet18, 50 epochs, all images")
    compare("split-cifar10", RECIPES, chosen, PUBLISHED if chosen.full else None, **(FULL if chosen.full else {}))
