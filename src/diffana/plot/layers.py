"""Samples as they are stacked: the smallest ones merged where colours run out."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from diffana.plot.style import MOST_BACKGROUNDS, MOST_SIGNALS, literal, palette


Content = TypeVar("Content")


class Layers(NamedTuple):
    """Which sample is drawn under which name.

    Attributes:
        names: name in the figure by sample; several samples can share one.
        signals: names in the figure of the signals.
        colours: by name in the figure, and by variation.
        merged: samples behind each name that stands for several.
    """

    names: Mapping[str, str]
    signals: tuple[str, ...]
    colours: Mapping[str, str]
    merged: Mapping[str, tuple[str, ...]]

    def collect(self, content: Mapping[str, Content]) -> dict[str, list[Content]]:
        """What belongs to each name in the figure, in the order of the names."""
        found: dict[str, list[Content]] = {}
        for sample, name in self.names.items():
            if sample in content:
                found.setdefault(name, []).append(content[sample])
        return found


def layers(
    backgrounds: Sequence[str],
    signals: Sequence[str] = (),
    variations: Sequence[str] = (),
) -> Layers:
    """Layers of a stack, whatever the number of samples.

    Args:
        backgrounds: samples, the most important first; from the fifth on they are
            merged if there are more than five.
        signals: likewise; from the second on if there are more than two.
        variations: as in `palette`.

    Raises:
        ValueError: if there are too many variations, or a name stands for two things.

    Example:
        >>> layers(["top", "W", "Z", "WW", "WZ", "ZZ"], ["signal"]).merged
        {'2 other backgrounds': ('WZ', 'ZZ')}
    """
    names: dict[str, str] = {}
    merged: dict[str, tuple[str, ...]] = {}
    drawn = []
    for samples, most, rest in (
        (backgrounds, MOST_BACKGROUNDS, "other backgrounds"),
        (signals, MOST_SIGNALS, "other signals"),
    ):
        kept = len(samples) if len(samples) <= most else most - 1
        names |= {sample: literal(sample) for sample in samples[:kept]}
        shown = [names[sample] for sample in samples[:kept]]
        if kept < len(samples):
            label = f"{len(samples) - kept} {rest}"
            names |= dict.fromkeys(samples[kept:], label)
            merged[label] = tuple(samples[kept:])
            shown.append(label)
        drawn.append(shown)
    shown_backgrounds, shown_signals = drawn
    colours = palette(shown_backgrounds, shown_signals, variations)
    return Layers(names, tuple(shown_signals), colours, merged)
