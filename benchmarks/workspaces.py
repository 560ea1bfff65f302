"""Time `hypotest` on published workspaces, beside pyhf in the same run.

Usage: python benchmarks/workspaces.py FOLDER [--only NAME ...] [--repeats 5]
       [--poi-test 1] [--cold] [--json FILE]

For every workspace FOLDER/*.json and every contender a fresh process builds the model
and computes observed and expected CLs `repeats` times. The table gives, per contender,
the first call with compilation, the median of the others in wall and CPU seconds, and
the peak memory of the process. `--cold` adds the shell commands `diffana cls` and
`pyhf cls`, started anew each time (median of 3). `--toys N` compares pseudo-experiments
instead, pyhf with a hundredth of the number, whose time is scaled up.

Without `--toys` JAX gets one thread (`PJRT_NPROC=1`), unless the variable is set: the
arrays are small, and sharing them among threads costs both JAX contenders time.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


CONTENDERS = ("diffana", "pyhf_jax", "pyhf_numpy")


def diffana_call(spec, poi_test, n_toys):
    import jax

    jax.config.update("jax_enable_x64", True)
    from diffana.histfactory import from_workspace
    from diffana.infer import hypotest, toy_hypotest

    model, data = from_workspace(spec)
    sizes = {"parameters": len(model.parameters), "bins": model.layout.n_bins}
    if n_toys:
        return sizes, lambda: float(
            toy_hypotest(model, data, poi_test, n_toys=n_toys).CLs_obs.value
        )

    def call():
        found = jax.block_until_ready(hypotest(model, data, poi_test, throw=False))
        return [float(found.CLs_obs), *map(float, found.CLs_exp)]

    return sizes, call


def pyhf_call(backend, spec, poi_test, n_toys):
    import pyhf

    pyhf.set_backend(backend, "scipy")
    workspace = pyhf.Workspace(spec)
    model = workspace.model()
    data = workspace.data(model)
    if n_toys:
        return {}, lambda: pyhf_toys(pyhf, data, model, poi_test, n_toys)

    def call():
        observed, expected = pyhf.infer.hypotest(
            poi_test, data, model, return_expected_set=True
        )
        return [float(observed), *map(float, expected)]

    return {}, call


def pyhf_toys(pyhf, data, model, poi_test, n_toys):
    """Observed CLs; pyhf 0.7.6 has no expected ones from toys with NumPy 2.4."""
    calculator = pyhf.infer.calculators.ToyCalculator(
        data, model, ntoys=n_toys, track_progress=False
    )
    signal, background = calculator.distributions(poi_test)
    observed = calculator.teststatistic(poi_test)
    return float(calculator.pvalues(observed, signal, background)[2])


def work(contender, path, poi_test, repeats, n_toys):
    """Measure one contender; runs in its own process."""
    spec = json.loads(Path(path).read_text())
    began = time.perf_counter()
    if contender == "diffana":
        sizes, call = diffana_call(spec, poi_test, n_toys)
    else:
        backend = contender.removeprefix("pyhf_")
        sizes, call = pyhf_call(backend, spec, poi_test, n_toys)
    build = time.perf_counter() - began
    wall, cpu, result = [], [], None
    for _ in range(1 + repeats):
        began, began_cpu = time.perf_counter(), time.process_time()
        result = call()
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - began_cpu)
    print(
        json.dumps(
            sizes
            | {
                "build": build,
                "first": wall[0],
                "first_cpu": cpu[0],
                "wall": statistics.median(wall[1:] or wall),
                "cpu": statistics.median(cpu[1:] or cpu),
                "peak_MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "CLs": result,
            }
        )
    )


def measured(contender, path, poi_test, repeats, n_toys, timeout):
    command = [sys.executable, __file__, "--worker", contender, str(path)]
    command += ["--poi-test", str(poi_test), "--repeats", str(repeats)]
    command += ["--toys", str(n_toys)]
    threads = {} if n_toys else {"PJRT_NPROC": "1"}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=True,
            env=threads | os.environ,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        reason = str(getattr(error, "stderr", "") or error).strip().splitlines()
        return {"failed": reason[-1][:120] if reason else type(error).__name__}
    return json.loads(done.stdout.splitlines()[-1])


def cold(command, path, poi_test, repeats=3):
    """Median wall and CPU seconds of a shell command, with an empty cache."""
    option = "--poi-test" if command == "diffana" else "--test-poi"
    walls, cpus = [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as empty:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            began = time.perf_counter()
            done = subprocess.run(
                [command, "cls", str(path), option, str(poi_test)],
                capture_output=True,
                check=False,
                env=os.environ | {"XDG_CACHE_HOME": empty},
            )
            walls.append(time.perf_counter() - began)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpus.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        if done.returncode:
            return {"failed": done.stderr.decode().strip().splitlines()[-1][:120]}
    return {"wall": statistics.median(walls), "cpu": statistics.median(cpus)}


def describe(name, row):
    ours = row["diffana"]
    if "failed" in ours:
        return [f"{name}: {ours['failed']}"]
    lines = [f"{name}  ({ours['parameters']} parameters, {ours['bins']} bins)"]
    for contender, one in row.items():
        if "failed" in one:
            lines.append(f"  {contender:12}  {one['failed']}")
            continue
        text = f"  {contender:12}"
        if "first" in one:
            text += f"  first {one['first']:8.3f} s"
        text += f"  wall {one['wall']:9.4f} s  cpu {one['cpu']:9.4f} s"
        if "peak_MB" in one:
            text += f"  {one['peak_MB']:6.0f} MB"
        if contender.startswith("pyhf") and not contender.endswith("cls"):
            text += f"  {one['wall'] / ours['wall']:8.1f} x"
        lines.append(text)
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?")
    parser.add_argument("path", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peer-repeats", type=int, default=2)
    parser.add_argument("--poi-test", type=float, default=1.0)
    parser.add_argument("--min-parameters", type=int, default=0)
    parser.add_argument("--toys", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=600.0)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.worker:
        work(
            options.folder,
            options.path,
            options.poi_test,
            options.repeats,
            options.toys,
        )
        return
    table = {}
    for path in sorted(Path(options.folder).glob("*.json")):
        if options.only and path.stem not in options.only:
            continue
        row = {}
        for contender in options.contenders:
            ours = contender == "diffana"
            n_toys = options.toys if ours else options.toys // 100
            repeats = options.repeats if ours else options.peer_repeats
            found = measured(
                contender, path, options.poi_test, repeats, n_toys, options.timeout
            )
            if options.toys and not ours and "wall" in found:
                found |= {key: 100 * found[key] for key in ("first", "wall", "cpu")}
            row[contender] = found
            if ours and found.get("parameters", 0) < options.min_parameters:
                break
        else:
            if options.cold:
                for command in ("diffana", "pyhf"):
                    found = cold(command, path, options.poi_test)
                    row[f"{command} cls"] = found
            table[path.stem] = row
            print("\n".join(describe(path.stem, row)), flush=True)
    print(f"load average {os.getloadavg()[0]:.2f} on {os.cpu_count()} processors")
    if options.json:
        options.json.write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
