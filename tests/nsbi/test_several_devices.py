"""Events spread over devices, in a process that has several."""

import json
import os
import subprocess
import sys
from pathlib import Path


PROGRAM = """
import json
import equinox as eqx
import jax
jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp
import numpy as np
from diffana import nsbi
from nsbi import small

x = np.random.default_rng(0).normal(0.2, 1.0, 500)
params = jnp.array([1.3, 0.4, -0.3])
model, data = small.likelihood(), small.data(x, chunk=128)
program = eqx.filter_jit(lambda m, p, d: m.expansion(p, d, exact=False))
spread = nsbi.UnbinnedData(
    (nsbi.spread(data.rows[0], jax.devices()),), data.auxdata
)
text = program.lower(model, params, spread).compile().compiled.as_text()
alone, together = program(model, params, data), program(model, params, spread)
print(json.dumps({
    "devices": len(jax.devices()),
    "reduces": "all-reduce" in text,
    "value": float(alone.value - together.value),
    "gradient": float(jnp.max(jnp.abs(alone.gradient - together.gradient))),
}))
"""


def test_four_devices_give_the_sums_of_one():
    tests = Path(__file__).parents[1]
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "PYTHONPATH": str(tests),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    found = json.loads(done.stdout)
    assert found["devices"] == 4
    # The program adds up what the devices have computed.
    assert found["reduces"]
    # Only the order of 500 numbers of order one differs.
    assert abs(found["value"]) < 1e-10
    assert found["gradient"] < 1e-10
