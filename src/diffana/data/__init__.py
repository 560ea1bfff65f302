"""Simulated events: from files or generators to the arrays an analysis trains on."""

from diffana.data.batches import batches as batches
from diffana.data.events import (
    Events as Events,
    Population as Population,
    PopulationName as PopulationName,
    check_events as check_events,
)
from diffana.data.expressions import columns_of as columns_of, evaluate as evaluate
from diffana.data.portions import Portions as Portions
from diffana.data.readers import (
    AbstractReader as AbstractReader,
    CsvReader as CsvReader,
    NpzReader as NpzReader,
    ParquetReader as ParquetReader,
    RootReader as RootReader,
    open_reader as open_reader,
)
from diffana.data.splitting import split as split
from diffana.data.table import Table as Table
from diffana.data.toys import gaussian_blobs as gaussian_blobs
from diffana.data.variations import (
    jet_energy_scale as jet_energy_scale,
    recomputed as recomputed,
    soft_met as soft_met,
    tau_energy_scale as tau_energy_scale,
)
