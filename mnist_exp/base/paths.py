"""The folders of the project: config files, experiments, the store.

In a checkout, ``conf/``, ``experiments/`` and ``mlruns/`` are in the project's folder, from any current folder.
Installed from a wheel, ``conf/`` and ``experiments/`` are inside the package, and the project is the current folder:
its ``mlruns/`` holds the runs, and its ``experiments/``, if it exists, adds to those of the package.
"""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
_IN_CHECKOUT = (PACKAGE.parent / "conf" / "config.yaml").is_file()

CONF = (PACKAGE.parent if _IN_CHECKOUT else PACKAGE) / "conf"


def root() -> Path:
    """Return the project's folder, absolute: the checkout, or else the current folder."""
    return PACKAGE.parent if _IN_CHECKOUT else Path.cwd()


def store_folder() -> Path:
    """Return the folder of the default store."""
    return root() / "mlruns"


def experiment_files() -> dict[str, Path]:
    """Return every experiment file by name; one in the project replaces one of the same name in the package."""
    folders = [CONF.parent / "experiments", root() / "experiments"]
    return {file.stem: file for folder in folders for file in sorted(folder.glob("*.yaml"))}
