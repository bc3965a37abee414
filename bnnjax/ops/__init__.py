"""Pure functions on arrays: signs and their surrogate gradients, quantizers, scales, convolution, norms."""
