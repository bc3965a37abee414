"""A user's own pictures: found in folders or by a list, and written as a TFDS data set of small images."""
