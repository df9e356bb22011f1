"""Where things live.

In a checkout, ``conf/``, ``experiments/`` and ``mlruns/`` lie in the project's folder, and stay the same from
whichever folder a command is given. Installed from a wheel, ``conf/`` and ``experiments/`` travel inside the
package, and the project is the current folder: its ``mlruns/`` holds the runs, its ``experiments/`` (if there is
one) adds to those that came along.
"""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
_IN_CHECKOUT = (PACKAGE.parent / "conf" / "config.yaml").is_file()

CONF = (PACKAGE.parent if _IN_CHECKOUT else PACKAGE) / "conf"


def root() -> Path:
    """The project's folder, absolute: the checkout, or else the current folder."""
    return PACKAGE.parent if _IN_CHECKOUT else Path.cwd()


def store_folder() -> Path:
    """The folder of the default store."""
    return root() / "mlruns"


def experiment_files() -> dict[str, Path]:
    """Every experiment by name; a file of the project's own hides one of the same name in the package."""
    folders = [CONF.parent / "experiments", root() / "experiments"]
    return {file.stem: file for folder in folders for file in sorted(folder.glob("*.yaml"))}
