"""Networks whose histogram measures μ best: trained on the expected uncertainty.

The summary of the smeared mixture is trained as any analysis of the package is: events
to a bKDE histogram to HistFactory to the loss. An interference is no HistFactory, since
components have negative coefficients; there the same histograms fill a likelihood with
the coefficients of the unbinned one, for which the same loss is defined.
"""

import time
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from diffana import nsbi
from diffana.analysis import Analysis, Region, Shape, Summary
from diffana.data import Events
from diffana.data.toys import NUISANCES, Interference, SmearedMixture
from diffana.histfactory import code4p, from_workspace, poisson
from diffana.histogram import BinnedKDE, FixedEdges, Geometric, HardHistogram, Selection
from diffana.likelihood import AbstractLikelihood, Parameters
from diffana.losses import SigmaMu
from diffana.nsbi.binned_mixture import BinnedData
from diffana.observable import MLP, fit_standardisation
from diffana.train import Annealing, Trainer, first_epoch, train
from diffana.trainable import trainable
from experiments.nsbi_vs_binned.simulation import Simulated, variations


N_BINS = 20
INNER = np.linspace(0.0, 1.0, N_BINS + 1)
EDGES = np.concatenate([[-np.inf], INNER[1:-1], [np.inf]])
BANDWIDTH = Geometric(0.15, 0.02)
LOSS = SigmaMu(poi=1.0, log=True)


class LearnedSummary(NamedTuple):
    """A trained network with an output in [0, 1].

    Attributes:
        network: the network.
        seconds: processor time of the training.
    """

    network: MLP
    seconds: float


def drawn(features, seed: int) -> MLP:
    scaling = fit_standardisation(features, np.ones(len(features)), ())
    return MLP(
        features.shape[1],
        hidden=(64, 64, 64),
        activation=jax.nn.silu,
        standardisation=scaling,
        key=jax.random.key(seed),
    )


def optimiser(n_steps: int) -> optax.GradientTransformation:
    rate = optax.cosine_decay_schedule(3e-3, n_steps, alpha=0.01)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))


def smeared(
    train_events: Simulated, valid: Simulated, n_epochs: int, seed: int, *, fixed: bool
) -> LearnedSummary:
    """Trained by `diffana.train`.

    Args:
        train_events: simulated events.
        valid: those that choose the best epoch.
        n_epochs: passes over the events, 20 updates each.
        seed: of the network and the batches.
        fixed: whether the nuisance parameters are known.
    """
    start = time.process_time()
    model, _ = from_workspace(_workspace(fixed=fixed))
    features = np.concatenate([train_events.features[name] for name in "SB"])
    region = Region(
        edges=FixedEdges(EDGES),
        histogrammer=BinnedKDE(float(BANDWIDTH(0.0))),
        cuts=Selection(()),
        name="selected",
        summary="summary",
    )
    columns = tuple(range(features.shape[1]))
    analysis = Analysis(
        {"summary": Summary(drawn(features, seed), columns)},
        (region,),
        model,
        tuple(
            Shape("selected", sample, name, name)
            for sample in "SB"
            for name in NUISANCES
        ),
    )
    n_batches = 20
    trainer = Trainer(
        loss=LOSS,
        annealings=(
            Annealing(BANDWIDTH, lambda one: one.regions[0].histogrammer.bandwidth),
        ),
        n_steps=n_epochs * n_batches,
        signal=("S",),
        optimiser=optimiser(n_epochs * n_batches),
    )
    *_, last = train(
        trainer,
        first_epoch(trainer, analysis),
        _populations(train_events),
        _populations(valid),
        n_epochs=n_epochs,
        n_batches=n_batches,
        seed=seed,
        metrics={"sigma_mu": SigmaMu()},
        selection="sigma_mu",
        max_failed_steps=20,
    )
    network = last.best.summaries["summary"].observable
    return LearnedSummary(network, time.process_time() - start)


def _workspace(*, fixed: bool):
    ones = [1.0] * N_BINS
    shapes = []
    for name in NUISANCES:
        effect = {"hi": 1.0, "lo": 1.0}
        shapes.append({"name": name, "type": "normsys", "data": effect})
        effect = {"hi_data": ones, "lo_data": ones}
        shapes.append({"name": name, "type": "histosys", "data": effect})
    signal = {"name": "mu", "type": "normfactor", "data": None}
    samples = [
        {"name": "S", "data": ones, "modifiers": [signal, *shapes]},
        {"name": "B", "data": ones, "modifiers": shapes},
    ]
    held = [{"name": name, "fixed": True} for name in NUISANCES] if fixed else []
    return {
        "version": "1.0.0",
        "channels": [{"name": "selected", "samples": samples}],
        "observations": [{"name": "selected", "data": ones}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": held}}],
    }


def _populations(events: Simulated) -> tuple[Events, ...]:
    problem, found = SmearedMixture(), []
    for name, alpha in variations():
        yields = np.asarray(problem.selected_yields(alpha))
        for sample, expected in zip("SB", yields, strict=True):
            features = events.features[sample + name]
            found.append(
                Events(
                    features=features,
                    weight=np.full(len(features), expected / len(features)),
                    columns=[f"x{i}" for i in range(features.shape[1])],
                    region="selected",
                    sample=sample,
                    variation=name[1:].replace("_", "/") if name else "nominal",
                )
            )
    return tuple(found)


@final
class Templates(AbstractLikelihood):
    """Counts of interfering components, the last of which moves with α.

    Attributes:
        shape: probability of each bin for S, SBI, B and NI.
        up: the same of NI at α = 1.
        down: at α = -1.
        yields: expected events of each component.
        known: whether α is known.
    """

    shape: Float[Array, "component bin"]
    up: Float[Array, " bin"]
    down: Float[Array, " bin"]
    yields: Float[Array, " component"]
    known: bool = eqx.field(static=True)

    @property
    def parameters(self) -> Parameters:
        """Of the problem."""
        return Parameters(
            inits=jnp.array([1.0, 0.0]),
            lower=jnp.array([0.0, -5.0]),
            upper=jnp.array([3.0, 5.0]),
            fixed=jnp.array([False, self.known]),
            names=("sqrt_mu", "alpha"),
            poi="sqrt_mu",
        )

    def rates(self, params):
        """Expected events per bin."""
        coefficients = nsbi.Interference("sqrt_mu")({"sqrt_mu": params[0]})
        nominal = self.shape[3]
        alpha = jnp.broadcast_to(params[1], nominal.shape)
        other = nominal + code4p(alpha, self.down, nominal, self.up)
        interfering = (coefficients * self.yields[:3]) @ self.shape[:3]
        return interfering + self.yields[3] * other

    def twice_nll(self, params, data):
        """-2 ln L up to a constant."""
        pull = params[1] - data.auxdata[0]
        return poisson.twice_nll(data.counts, self.rates(params)).sum() + pull**2

    def expected_data(self, params):
        """Expected counts."""
        return BinnedData(self.rates(params), params[1:])

    def sample(self, params, key):
        """Counts and the measurement of α drawn at `params`."""
        first, second = jax.random.split(key)
        counts = poisson.sample(self.rates(params), first)
        return BinnedData(counts, params[1:] + jax.random.normal(second, (1,)))

    def curvature(self, params, data):
        """The second derivative without that of the rates."""
        slope = jax.jacfwd(self.rates)(params)
        weight = poisson.bend(data.counts, self.rates(params))
        return slope.T @ (weight[:, None] * slope) + jnp.diag(jnp.array([0.0, 2.0]))


def interference(
    train_events: Simulated, valid: Simulated, n_epochs: int, seed: int, *, fixed: bool
) -> LearnedSummary:
    """Trained on histograms of all components; otherwise as `smeared`."""
    start = time.process_time()
    names = ("pool", "NI", "NI_up", "NI_down")
    arrays = [jnp.asarray(train_events.features[name], jnp.float32) for name in names]
    held_out = [jnp.asarray(valid.features[name], jnp.float32) for name in names]
    weight, held_weight = (_pool_weight(one) for one in (train_events, valid))
    standard = np.concatenate([train_events.features[name] for name in ("pool", "NI")])
    network = drawn(standard, seed)
    n_batches = 20
    n_steps = n_epochs * n_batches
    rule = optimiser(n_steps)
    n_events = len(arrays[0])
    size = n_events // n_batches

    @eqx.filter_jit
    def update(network, memory, order, number, progress):
        mine = jax.lax.dynamic_slice(order, (number * size,), (size,))
        batch = [one[mine] for one in arrays]
        weights, rest = eqx.partition(network, trainable(network))
        histogram = BinnedKDE(BANDWIDTH(progress))

        def objective(weights):
            network = eqx.combine(weights, rest)
            return LOSS(_filled(network, histogram, batch, weight[mine], fixed))

        gradient = jax.grad(objective)(weights)
        moves, memory = rule.update(gradient, memory, weights)
        return eqx.combine(eqx.apply_updates(weights, moves), rest), memory

    @eqx.filter_jit
    def hard(network):
        model = _filled(network, HardHistogram(), held_out, held_weight, fixed)
        return LOSS.evaluate(model).value

    memory = rule.init(eqx.filter(network, trainable(network)))
    best, lowest, random = network, np.inf, np.random.default_rng(seed)
    for epoch in range(n_epochs):
        order = jnp.asarray(random.permutation(n_events))
        for number in range(n_batches):
            progress = (epoch * n_batches + number) / (n_steps - 1)
            network, memory = update(
                network, memory, order, jnp.asarray(number), jnp.asarray(progress)
            )
        value = float(hard(network))
        if value < lowest:
            best, lowest = network, value
    return LearnedSummary(best, time.process_time() - start)


def _pool_weight(events: Simulated):
    weights = events.weights["pool"]
    return jnp.stack([jnp.asarray(weights[name]) for name in ("S", "SBI", "B")], axis=1)


def _filled(network, histogram, batch, weight, fixed) -> Templates:
    """The likelihood with the histograms of a batch."""
    pool, *others = (jax.vmap(network)(one) for one in batch)

    def shape(value, weight):
        return histogram(value, weight / weight.sum(), EDGES).sumw

    interfering = [shape(pool, weight[:, j]) for j in range(3)]
    nominal, up, down = (shape(one, jnp.ones(len(one))) for one in others)
    return Templates(
        jnp.stack([*interfering, nominal]),
        up,
        down,
        Interference().yields(),
        known=fixed,
    )
