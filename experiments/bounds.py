"""Shows how far noise can move the outputs of trained networks, layer by layer and side by side.

    python experiments/bounds.py RUN...

The same as `bnnjax bounds`, whose --help has more.
"""

from bnnjax.cli.bounds import EXPERIMENT

if __name__ == "__main__":
    EXPERIMENT.run_as_script()
