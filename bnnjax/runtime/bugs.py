"""What is left of a mistake of ours: a file for those who mend it, and a sentence for those who met it."""

import os
import tempfile
import traceback


def bug_sentence(error: BaseException) -> str:
    """Returns one sentence about an error of ours, which names a new file with the traceback."""
    text = "".join(traceback.format_exception(error))
    try:
        descriptor, name = tempfile.mkstemp(prefix="bnnjax-traceback-", suffix=".txt")
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        where = f"the traceback is in {name}"
    except OSError as problem:
        where = f"its traceback could not be written ({problem.strerror}): {text}"
    what = " ".join(traceback.format_exception_only(error)[-1].split())
    return f"this is a bug of bnnjax: {what}; {where}"
