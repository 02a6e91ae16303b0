"""Permuted MNIST as in Buzzega et al. 2020: 20 tasks, one pass, MLP 100-100, plain SGD, one head.

    python benchmarks/permuted_mnist.py --seeds 3 --out runs/pmnist

Every experience shuffles the pixels of all 60,000 images in its own way. Reported is the average test accuracy over
all 20 tasks at the end. The published numbers are those of the paper (arXiv:2004.07211, table 2, domain-incremental).
"""

from options import compare, options

RECIPES = ["naive", "ewc", "er", "mean-er", "der++", "tether", "joint"]
PUBLISHED = {
    ("naive", 0): 40.70,
    ("joint", 0): 94.33,
    ("er", 200): 72.37,
    ("er", 500): 80.60,
    ("er", 5120): 89.90,
    ("der", 200): 81.74,
    ("der", 500): 87.29,
    ("der", 5120): 91.66,
    ("der++", 200): 83.58,
    ("der++", 500): 88.21,
    ("der++", 5120): 92.26,
}

if __name__ == "__main__":
    compare("permuted-mnist", RECIPES, options(__doc__), PUBLISHED)
