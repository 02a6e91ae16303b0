"""Permuted MNIST as in Buzzega et al. 2020: 20 tasks, one pass, MLP 100-100, plain SGD, one head.

    ckd bench benchmarks/permuted_mnist.py --out runs/pmnist

Every experience shuffles the pixels of all 60,000 images in its own way. Reported is the average test accuracy over
all 20 tasks at the end.
"""

from ckd.bench import Suite

suite = Suite(
    title="Permuted MNIST, domain-incremental",
    benchmarks=["permuted-mnist"],
    recipes=["naive", "ewc", "er", "mean-er", "der++", "tether", "joint"],
    published={
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
    },
    source="Buzzega et al. 2020, arXiv:2004.07211, table 2, domain-incremental",
    against="der++",
)
