"""Split MNIST, class-incremental: 5 experiences of 2 digits, one head, one pass, batches of 10.

    python benchmarks/split_mnist.py --seeds 3 --out runs/split-mnist

Published, class-incremental: ER and DER++ as the authors of DER report them, CLS-ER from its authors' repository.
"""

from options import options

from ckd.bench import plan, run_suite

RECIPES = [
    "naive",
    "lwf",
    "er",
    "er-ace",
    "der",
    "der++",
    "self-distillation",
    "wa",
    "bfp",
    "bic",
    "icarl",
    "mean-er",
    "cls-er",
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


def main() -> None:
    """Run what is not finished yet, and compare."""
    chosen = options(__doc__)
    specs = [
        plan("split-mnist", recipe, seed=seed, memory_size=size)
        for recipe in RECIPES
        for size in chosen.memory_size
        for seed in range(chosen.seeds)
    ]
    run_suite(specs, chosen.out, data_root=chosen.data_root, device=chosen.device, published=PUBLISHED)


if __name__ == "__main__":
    main()
