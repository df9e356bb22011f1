"""How long it takes to ask for help, against importing Hydra alone."""

import measure

COMMANDS = {
    "import hydra": ["-c", "import hydra"],
    "python -m mnist_exp --help": ["-m", "mnist_exp", "--help"],
    "python -m mnist_exp --cfg job": ["-m", "mnist_exp", "--cfg", "job"],
    "mnist-exp --help": ["-c", "import sys; from mnist_exp.commands.cli import main; sys.exit(main(['--help']))"],
}


def main() -> None:
    quick = measure.is_quick(__doc__)
    with measure.workshop() as folder:
        rivals = {name: lambda arguments=each: [measure.process(arguments, folder)] for name, each in COMMANDS.items()}
        measure.in_turns(rivals, 1)  # bytecode is written, files come into the cache
        seconds = measure.in_turns(rivals, 3 if quick else 15)
    measure.report("startup", "Start-up", seconds, "import hydra", "no data")


if __name__ == "__main__":
    main()
