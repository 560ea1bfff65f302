"""Transformed features of a configuration -> functions of tables."""

from diffana.config import (
    JetEnergyScale,
    SoftMet,
    TauEnergyScale,
    TransformSection,
)
from diffana.data.table import Table
from diffana.data.variations import jet_energy_scale, soft_met, tau_energy_scale


def transformed(table: Table, transform: TransformSection) -> Table:
    """The events of `table` as `transform` describes them.

    Each row of the result follows from the same row of `table` alone, so that a table
    can be transformed in pieces.
    """
    match transform:
        case TauEnergyScale(factor=factor):
            return tau_energy_scale(table, factor)
        case JetEnergyScale(factor=factor):
            return jet_energy_scale(table, factor)
        case SoftMet(sigma=sigma):
            return soft_met(table, sigma)
        case _:
            raise TypeError(f"no transform belongs to {type(transform).__name__}")
