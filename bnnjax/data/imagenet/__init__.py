"""ImageNet (ILSVRC 2012): prepared from what its owners give out, and opened for streaming."""
