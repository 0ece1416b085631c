"""Charts of results and stores, as Altair charts: for notebooks, files and pages alike.

Each function returns a chart that a notebook shows; :func:`save` writes it to a file. They need
the extra ``plot``.
"""

from seal_store.charts.attribution import attribution
from seal_store.charts.calibration import calibration
from seal_store.charts.effect_map import effect_map
from seal_store.charts.evaluation import evaluation
from seal_store.charts.files import save
from seal_store.charts.locus import locus
from seal_store.charts.profile import profile
from seal_store.charts.saturation import saturation

__all__ = [
    "attribution",
    "calibration",
    "effect_map",
    "evaluation",
    "locus",
    "profile",
    "saturation",
    "save",
]
