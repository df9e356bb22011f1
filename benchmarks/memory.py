"""Memory of a sweep of 200 short runs in one process, on the embedded digits: after the tenth run, and at the end."""

import os
import subprocess
import sys

import measure
import psutil


def main() -> None:
    jobs = 40 if measure.is_quick(__doc__) else 200
    with measure.workshop() as folder:
        command = [sys.executable, "-m", "mnist_exp", "-m", "data=digits", "training.epochs=2", f"seed=range({jobs})"]
        environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/empty.db"}
        process = subprocess.Popen(
            [*command, f"hydra.sweep.dir={folder}/multirun"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        megabytes: dict[int, float] = {}  # as each job begins, by the number of jobs done before it
        while process.poll() is None:
            begun = len(list(folder.glob("multirun/[0-9]*")))
            if begun and begun - 1 not in megabytes:
                megabytes[begun - 1] = psutil.Process(process.pid).memory_info().rss / 2**20
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
    if process.returncode:
        raise SystemExit(f"the sweep failed with exit code {process.returncode}")
    tenth, last = megabytes[10], megabytes[max(megabytes)]
    print(f"\nMemory of a sweep of {jobs} runs\ndigits; {measure.MACHINE}\n")
    print(f"after 10 runs: {tenth:.0f} MB; after {max(megabytes)}: {last:.0f} MB: {last / tenth - 1:+.1%}")
    measure.write("memory", {"machine": measure.MACHINE, "data": "digits", "megabytes": megabytes})


if __name__ == "__main__":
    main()
