"""Named sums of terms, with the hyper-parameters that their papers used."""

from ckd.recipes.bfp import bfp
from ckd.recipes.bic import bic
from ckd.recipes.cls_er import cls_er
from ckd.recipes.cumulative import cumulative
from ckd.recipes.der import der
from ckd.recipes.der_plus_plus import der_plus_plus
from ckd.recipes.er import er
from ckd.recipes.er_ace import er_ace
from ckd.recipes.er_las import er_las
from ckd.recipes.ewc import ewc
from ckd.recipes.fdr import fdr
from ckd.recipes.icarl import icarl
from ckd.recipes.joint import joint
from ckd.recipes.lode import lode
from ckd.recipes.lwf import lwf
from ckd.recipes.lwf_mc import lwf_mc
from ckd.recipes.mean_er import mean_er
from ckd.recipes.naive import naive
from ckd.recipes.protocols import Protocol, protocol
from ckd.recipes.registry import RECIPES, Recipe, get, recipe
from ckd.recipes.self_distillation import self_distillation
from ckd.recipes.ser import ser
from ckd.recipes.ss_il import ss_il
from ckd.recipes.tether import tether
from ckd.recipes.wa import wa
from ckd.recipes.x_der import x_der

__all__ = [
    "RECIPES",
    "Protocol",
    "Recipe",
    "bfp",
    "bic",
    "cls_er",
    "cumulative",
    "der",
    "der_plus_plus",
    "er",
    "er_ace",
    "er_las",
    "ewc",
    "fdr",
    "get",
    "icarl",
    "joint",
    "lode",
    "lwf",
    "lwf_mc",
    "mean_er",
    "naive",
    "protocol",
    "recipe",
    "self_distillation",
    "ser",
    "ss_il",
    "tether",
    "wa",
    "x_der",
]
