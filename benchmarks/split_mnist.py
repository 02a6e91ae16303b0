"""Split MNIST, class-incremental: 5 experiences of 2 digits, one head, one pass, batches of 10.

    ckd bench benchmarks/split_mnist.py --out runs/split-mnist

Reported is the average test accuracy over all 5 experiences at the end.
"""

from ckd.bench import Suite

suite = Suite(
    title="Split MNIST, class-incremental",
    benchmarks=["split-mnist"],
    recipes=[
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
    ],
    published={
        ("er", 200): 80.4,
        ("er", 500): 86.1,
        ("er", 5120): 93.4,
        ("cls-er", 200): 89.54,
        ("cls-er", 500): 92.05,
        ("cls-er", 5120): 95.73,
        ("der++", 200): 85.6,
        ("der++", 500): 91.0,
        ("der++", 5120): 95.3,
    },
    source="er and der++: Buzzega et al. 2020, arXiv:2004.07211; cls-er: its authors' repository (arXiv:2201.12604)",
    against="der++",
)
