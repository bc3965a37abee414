"""bnnjax: training of binarized neural networks that stay accurate when their inputs are noisy.

Importing the package is light; JAX is imported by the submodules that compute.
"""

__version__ = "0.1.0"
