"""Descriptions of Neyman constructions -> objects."""

from diffana.assemble.neyman.construction import (
    Constructed as Constructed,
    construct as construct,
)
from diffana.assemble.neyman.description import Description as Description
from diffana.assemble.neyman.focus import focus_of as focus_of
from diffana.assemble.neyman.priors import prior_points as prior_points
