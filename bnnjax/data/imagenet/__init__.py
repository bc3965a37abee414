"""ImageNet (ILSVRC 2012): prepared from its official files, and opened for streaming."""
