"""Exit codes of the commands; 0 is finished, or stopped by a signal with everything saved."""

FAILED = 1  # by a fault of the program
WRONG_INPUT = 2
STOPPED_BY_LOSS = 3  # the loss stopped being finite
NOT_WRITTEN = 4  # a file
UNEQUAL = 5  # the results of a rerun are not those of the run
LOST = 6  # another process of the run was lost
STOPPED_BY_DATA = 7  # the data could not be read
INTERRUPTED = 130  # by the keyboard, while there was nothing to save
