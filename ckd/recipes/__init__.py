"""Named sums of terms, with the hyper-parameters that their papers used."""

from ckd.recipes._ballast import ballast
from ckd.recipes._bfp import bfp
from ckd.recipes._bic import bic
from ckd.recipes._born_again import born_again
from ckd.recipes._cls_er import cls_er
from ckd.recipes._cumulative import cumulative
from ckd.recipes._der import der
from ckd.recipes._der_plus_plus import der_plus_plus
from ckd.recipes._distilled import distilled
from ckd.recipes._er import er
from ckd.recipes._er_ace import er_ace
from ckd.recipes._er_las import er_las
from ckd.recipes._ewc import ewc
from ckd.recipes._fdr import fdr
from ckd.recipes._feature_distillation import LAST_STAGE, attention, hint, pairs, relational, similarity
from ckd.recipes._icarl import icarl
from ckd.recipes._joint import joint
from ckd.recipes._lode import lode
from ckd.recipes._logit_distillation import dist, dkd, hinge, kd, logit_mse, standardised_kd, symmetric_kl
from ckd.recipes._lwf import lwf
from ckd.recipes._lwf_mc import lwf_mc
from ckd.recipes._mean_er import mean_er
from ckd.recipes._mkd import mkd
from ckd.recipes._mutual import mutual
from ckd.recipes._naive import naive
from ckd.recipes._review import review
from ckd.recipes._self_distillation import self_distillation
from ckd.recipes._ser import ser
from ckd.recipes._ss_il import ss_il
from ckd.recipes._tether import tether
from ckd.recipes._tinybert import tinybert
from ckd.recipes._wa import wa
from ckd.recipes._x_der import x_der
from ckd.recipes.protocols import Protocol, protocol
from ckd.recipes.registry import RECIPES, Recipe, get, recipe

__all__ = [
    "LAST_STAGE",
    "RECIPES",
    "Protocol",
    "Recipe",
    "attention",
    "ballast",
    "bfp",
    "bic",
    "born_again",
    "cls_er",
    "cumulative",
    "der",
    "der_plus_plus",
    "dist",
    "distilled",
    "dkd",
    "er",
    "er_ace",
    "er_las",
    "ewc",
    "fdr",
    "get",
    "hinge",
    "hint",
    "icarl",
    "joint",
    "kd",
    "lode",
    "logit_mse",
    "lwf",
    "lwf_mc",
    "mean_er",
    "mkd",
    "mutual",
    "naive",
    "pairs",
    "protocol",
    "recipe",
    "relational",
    "review",
    "self_distillation",
    "ser",
    "similarity",
    "ss_il",
    "standardised_kd",
    "symmetric_kl",
    "tether",
    "tinybert",
    "wa",
    "x_der",
]
