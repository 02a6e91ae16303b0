"""Split CIFAR-10 as published: 5 experiences of 2 classes, ResNet18 for 50 epochs, all images, crop and flip.

    ckd bench benchmarks/split_cifar_full.py --device cuda --out runs/split-cifar10-full

Only this protocol has published numbers. It needs a GPU.
"""

from ckd.bench import Suite

suite = Suite(
    title="Split CIFAR-10, the published protocol",
    benchmarks=["split-cifar10"],
    recipes=[
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
    ],
    protocol={"variant": "full"},
    published={
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
    },
    source="Buzzega et al. 2020, arXiv:2004.07211, table 2; mean-er and cls-er: Arani et al. 2022, arXiv:2201.12604; "
    "bfp: Gu et al. 2023, arXiv:2303.14595",
    against="der++",
)
