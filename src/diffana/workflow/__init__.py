"""The commands: a configuration goes in, a run folder and a report come out."""

from diffana.workflow.evaluation import evaluate as evaluate
from diffana.workflow.training import train as train
