"""``python -m mnist_exp [-m] [overrides]``."""

import gc
import sys

if {"-h", "--help"} & set(sys.argv[1:]):
    from mnist_exp.app import help as help_text

    print(help_text.text(sys.argv[1:]))
    sys.exit(0)

from mnist_exp.base.imports import require_posix

require_posix()

from mnist_exp.app.application import main  # noqa: E402  it imports what other systems lack

code = main(sys.argv[1:])
gc.freeze()  # the interpreter's last collections would look at all of TensorFlow once more, for two seconds
sys.exit(code)
