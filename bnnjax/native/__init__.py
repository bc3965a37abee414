"""Binary convolution in C, with the vector instructions of the CPU."""
