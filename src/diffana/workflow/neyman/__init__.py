"""Belts of published workspaces and of learned likelihoods, and what is done with them.

The folder of a belt holds

- `settings.json`: what was asked for, with every default spelled out,
- `provenance.json`: versions, machine, seed, commit, command and input files,
- `workspace.json`: the workspace, or in the settings where the likelihood is,
- `toys/`: statistics of pseudo-experiments in batches, until the belt is finished,
- `toys.npz`: all of them, and the tested values that they were made for,
- `belt.json`: critical values and what they guarantee, written last,
- `interval.json`, `coverage.json`, `figures/`: if somebody asked for them.
"""
