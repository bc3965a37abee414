"""The flags by which the processes of one run find each other, given by hand."""

from bnnjax.config.checks import check


def check_processes(
    distributed: str, coordinator: str | None, process_id: int | None, num_processes: int | None
) -> None:
    """Refuses flags that do not place this process among the others.

    Args:
      distributed: auto finds what the others say, which are left out then.
      coordinator: HOST:PORT of process 0.
      process_id: 0 to num_processes - 1.
      num_processes: how many there are.

    Raises:
      ValueError: if some of the last three are given and others are not, if distributed is auto as well, or
        if a value is out of range.
    """
    if coordinator is None and process_id is None and num_processes is None:
        return
    if coordinator is None or process_id is None or num_processes is None:
        given = {"coordinator": coordinator, "process_id": process_id, "num_processes": num_processes}
        missing = next(name for name, value in given.items() if value is None)
        raise ValueError(
            f"coordinator, process_id and num_processes must be given together; {missing} is missing"
        )
    if distributed == "auto":
        raise ValueError(
            "distributed auto finds coordinator, process_id and num_processes; give one or the other"
        )
    host, _, port = coordinator.rpartition(":")
    is_address = bool(host) and port.isdecimal() and 0 < int(port) < 2**16
    check("coordinator", coordinator, "HOST:PORT", is_address)
    check("num_processes", num_processes, "at least 1", num_processes >= 1)
    last = num_processes - 1
    check("process_id", process_id, f"between 0 and {last}", 0 <= process_id <= last)
