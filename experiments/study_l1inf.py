"""Trains networks under the L1,inf constraint in its soft and hard forms and tests each under noise.

    python experiments/study_l1inf.py --dataset digits

The same as `bnnjax study l1inf`, whose --help has more.
"""

from bnnjax.cli.study import L1INF

if __name__ == "__main__":
    L1INF.run_as_script()
