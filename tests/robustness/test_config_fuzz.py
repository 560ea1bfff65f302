"""Configuration files that were damaged at random, or made to do harm."""

import copy
import datetime
import random
import time

import pytest
import yaml
from click.testing import CliRunner

import tiny
from diffana import config as configuration
from diffana.cli import main
from diffana.config import ConfigError


VALUES = (
    None,
    True,
    -1,
    0,
    1,
    1e308,
    float("nan"),
    float("inf"),
    10**400,
    10**18,
    "",
    "x" * 3000,
    "\u202e",
    "🙂",
    "two\nlines",
    "nan",
    "pt >",
    "__import__('os').system('touch pwned')",
    "a/b",
    [],
    [None],
    [2, 1],
    [[]],
    {},
    {"a": {}},
    {1: 2},
    {None: 1},
    {(1, 2): 3},
    {"Type": "x"},
    {"Type": []},
    b"\xff\x00",
    datetime.date(2020, 1, 1),
)
DAMAGE = (
    b"&a ",
    b"*a ",
    b"\t",
    b"{",
    b"[",
    b": ",
    b"- ",
    b"\xff\xfe",
    b"\x00",
    b"---\n",
    b"<<: *a\n",
    b"? ",
    b"|\n",
    b"!!bool ",
    b"!!timestamp ",
    b"!!python/object/apply:os.system ['touch pwned']",
)


def places(node, path=()):
    """Paths of everything below a node."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def at(document, path):
    for key in path:
        document = document[key]
    return document


def mutated(document, random):
    """A document with one thing deleted, replaced, renamed, moved or added."""
    found = list(places(document))
    if not found:
        return document
    *above, key = random.choice(found)
    parent = at(document, above)
    value = copy.deepcopy(random.choice(VALUES))
    match random.randrange(6):
        case 0:
            del parent[key]
        case 1 | 2:
            parent[key] = value
        case 3 if isinstance(parent, dict):
            name = random.choice((f"{key}s", str(key).lower(), 1, None, "Nаme"))
            parent[name] = parent.pop(key)
        case 3:
            parent.insert(0, copy.deepcopy(parent[key]))
        case 4:
            parent[key] = copy.deepcopy(at(document, random.choice(found)))
        case _ if isinstance(parent, dict):
            parent[random.choice(("Extra", "Type", "<<"))] = value
        case _:
            parent.append(value)
    return document


def damaged(seed):
    """Text of a configuration after a few mutations of the document or its bytes."""
    drawn = random.Random(seed)
    document = tiny.document()
    for _ in range(drawn.choice((1, 1, 2, 4))):
        document = mutated(document, drawn)
    text = bytearray(yaml.dump(document, allow_unicode=True), "utf-8")
    if drawn.random() < 0.4:
        for _ in range(drawn.randint(1, 4)):
            place = drawn.randrange(len(text) + 1)
            stop = place + drawn.choice((0, 0, 1, 40))
            text[place:stop] = drawn.choice(DAMAGE)
    return bytes(text)


def verdict(text):
    """`valid`, or `refused` with a message that says where."""
    try:
        config = configuration.parse(text)
    except ConfigError as error:
        mistakes = error.mistakes
    else:
        # What was accepted can be run: it survives the run folder.
        assert configuration.parse(configuration.dump(config)) == config
        return "valid"
    assert mistakes
    for mistake in mistakes:
        assert mistake.message.strip()
        assert "\n" not in str(mistake)
    return "refused"


@pytest.mark.parametrize("block", range(4))
def test_damaged_configurations_are_valid_or_refused(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = [verdict(damaged(seed)) for seed in range(60 * block, 60 * (block + 1))]
    assert found.count("refused") > 30
    assert not (tmp_path / "pwned").exists()


@pytest.mark.slow
def test_many_damaged_configurations_are_valid_or_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = [verdict(damaged(seed)) for seed in range(1000, 6000)]
    assert found.count("refused") > 2500
    assert not (tmp_path / "pwned").exists()


GOOD = yaml.safe_dump(tiny.document(), sort_keys=False)
LAUGHS = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    + [f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]" for i in range(20)]
)
REFUSED = {
    "nothing": "",
    "a list": "[]",
    "binary": bytes(range(256)),
    "a null byte": GOOD + "\0",
    "two documents": "---\na: 1\n---\nb: 1\n",
    "a Python object": "!!python/object/apply:os.system ['touch pwned']",
    "a Python name": GOOD + "\nInput: !!python/name:os.system\n",
    "an unfit bool": "General: !!bool maybe",
    "an unfit timestamp": "General: !!timestamp x",
    "an unfit integer": 'General: !!int ""',
    "a list within itself": "&a [*a]",
    "a section within itself": "General: &a {Measurement: *a}",
    "a section merged into itself": "General: &a\n  <<: *a\n  POI: mu\n",
    "a merged number": "General:\n  <<: 3\n",
    "a key that is a list": "? [a]\n: 1\n",
    "a key that is a number": GOOD.replace("General:\n", "General:\n  1: 2\n"),
    "a billion laughs": LAUGHS,
    "deep lists": "[" * 20000,
    "deep sections": "".join(" " * depth + "a:\n" for depth in range(1500)),
    "a number of 5000 digits": GOOD.replace("Seed: 3", f"Seed: {'9' * 5000}"),
    "a seed of more than 63 bits": GOOD.replace("Seed: 3", f"Seed: {2**63}"),
    "more events than memory": GOOD.replace("400", str(10**18)),
    "a layer of 10¹⁸ units": GOOD.replace("- 8\n", f"- {10**18}\n"),
    "a lone surrogate": GOOD.replace("tiny", '"\\ud800"'),
    "more than 2 MB": GOOD + "#" * 2_000_000,
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_could_do_harm_is_refused(what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    began = time.process_time()
    assert verdict(REFUSED[what]) == "refused"
    # Deep nesting is what takes longest: fractions of a second on any machine.
    assert time.process_time() - began < 20
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("seed", range(0, 40, 4))
def test_a_refused_configuration_leaves_nothing(seed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = damaged(seed)
    if verdict(text) == "valid":
        text += b"\nExtra: 1\n"
    path = tmp_path / "config.yaml"
    path.write_bytes(text)
    result = CliRunner().invoke(main, ["train", str(path), "--out", "run"])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {path}")
    assert result.stdout == ""
    assert [one.name for one in tmp_path.iterdir()] == ["config.yaml"]


def test_a_device_without_end_is_refused():
    with pytest.raises(ConfigError, match="is larger than 2 MB"):
        configuration.load("/dev/zero")
