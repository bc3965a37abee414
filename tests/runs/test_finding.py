"""How processes find each other: by hand, by what started them, or not at all."""

import os
from pathlib import Path
from typing import Any

import pytest
from jax._src import clusters
from jax._src.clusters import cloud_tpu_cluster
from jax._src.clusters import cluster as cluster_module
from processes import Run
from runs import TINY

from bnnjax.config.training import Config
from bnnjax.runs import distributed
from bnnjax.runs.distributed import arguments_of

STARTERS = ("SLURM_", "OMPI_", "KUBERNETES_", "TPU_", "MEGASCALE_", "JAX_COORDINATOR")


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Removes the environment of process launchers."""
    for name in os.environ:
        if name.startswith(STARTERS):
            monkeypatch.delenv(name)


def found(config: Config) -> dict[str, Any]:
    """Returns what JAX would detect for the arguments of a configuration."""
    given = arguments_of(config)
    names = ("coordinator_address", "num_processes", "process_id")
    detected = clusters.ClusterEnv.auto_detect_unset_distributed_params(
        *(given[name] for name in names), None, given.get("cluster_detection_method"), 1
    )
    return dict(zip((*names, "local_device_ids"), detected, strict=True))


@pytest.mark.usefixtures("outside")
def test_flags_by_hand_reach_jax_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "0")  # is not looked at
    config = Config(coordinator="node1:1234", process_id=3, num_processes=8)
    assert arguments_of(config) == {
        "coordinator_address": "node1:1234",
        "process_id": 3,
        "num_processes": 8,
        "heartbeat_timeout_seconds": 30,
        "cluster_detection_method": "deactivate",
    }


@pytest.mark.usefixtures("outside")
def test_slurm_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    job = {"JOB_ID": "4097", "STEP_NODELIST": "node[07-09],x", "NTASKS": "12", "PROCID": "5", "LOCALID": "1"}
    for name, value in job.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert found(Config(distributed="auto")) == {
        "coordinator_address": f"node07:{65535 - 4096 + 1 + 1}",
        "num_processes": 12,
        "process_id": 5,
        "local_device_ids": [1],
    }


@pytest.mark.usefixtures("outside")
def test_open_mpi_4_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMPI_MCA_orte_hnp_uri", "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911")
    for name, value in (("SIZE", "4"), ("RANK", "2"), ("LOCAL_RANK", "0")):
        monkeypatch.setenv(f"OMPI_COMM_WORLD_{name}", value)
    result = found(Config(distributed="auto"))
    assert result["coordinator_address"].startswith("10.96.0.1:")
    assert (result["num_processes"], result["process_id"]) == (4, 2)


@pytest.mark.usefixtures("outside")
def test_a_cloud_tpu_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (cloud_tpu_cluster, cluster_module):
        monkeypatch.setattr(module, "running_in_cloud_tpu_vm", True)
    monkeypatch.setenv("TPU_SKIP_MDS_QUERY", "1")  # as on GKE
    monkeypatch.setenv("MEGASCALE_NUM_SLICES", "2")
    monkeypatch.setenv("MEGASCALE_SLICE_ID", "1")
    monkeypatch.setenv("MEGASCALE_COORDINATOR_ADDRESS", "127.0.0.1")
    monkeypatch.setenv("TPU_WORKER_HOSTNAMES", "one,two")
    monkeypatch.setenv("TPU_WORKER_ID", "1")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")  # asks for no package there
    result = found(Config(distributed="auto"))
    assert result["coordinator_address"] == "127.0.0.1:8482"
    assert (result["num_processes"], result["process_id"], result["local_device_ids"]) == (4, 3, None)


@pytest.mark.usefixtures("outside")
@pytest.mark.parametrize(
    ("variable", "package", "where"),
    [
        ("KUBERNETES_SERVICE_HOST", "kubernetes", "Kubernetes"),
        ("OMPI_COMM_WORLD_RANK", "mpi4py", "Open MPI 5 or later"),
    ],
)
def test_a_package_that_jax_needs_there_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, package: str, where: str
) -> None:
    monkeypatch.setenv(variable, "0")
    monkeypatch.setattr(distributed.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=f"needs the package {package} on {where}"):
        arguments_of(Config(distributed="auto"))


@pytest.mark.usefixtures("outside")
def test_open_mpi_5_goes_by_mpi4py(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "0")
    monkeypatch.setattr(distributed.importlib.util, "find_spec", lambda name: object())
    assert arguments_of(Config(distributed="auto"))["cluster_detection_method"] == "mpi4py"


@pytest.mark.usefixtures("outside")
def test_auto_where_nothing_has_started_it_says_what_it_looked_for(run: Run, tmp_path: Path) -> None:
    direct = {"http_proxy": "", "https_proxy": ""}
    done = run(TINY, "--distributed", "auto", "--workdir", tmp_path / "run", **direct)
    assert (done.returncode, done.stdout) == (2, "")
    line = done.stderr.splitlines()[-1]
    assert line.startswith("tiny_experiment.py: --distributed auto found no other processes; it looked for ")
    for name in ("SLURM_JOB_ID", "OMPI_MCA_orte_hnp_uri", "KUBERNETES_SERVICE_HOST", "TPU_WORKER_HOSTNAMES"):
        assert name in line
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"coordinator": "a:1"}, "must be given together; process_id is missing"),
        ({"process_id": 0, "num_processes": 2}, "must be given together; coordinator is missing"),
        ({"coordinator": "a", "process_id": 0, "num_processes": 2}, "coordinator must be HOST:PORT; got a"),
        ({"coordinator": ":1", "process_id": 0, "num_processes": 2}, "coordinator must be HOST:PORT"),
        ({"coordinator": "a:99999", "process_id": 0, "num_processes": 2}, "coordinator must be HOST:PORT"),
        ({"coordinator": "a:1", "process_id": 2, "num_processes": 2}, "between 0 and 1; got 2"),
        ({"coordinator": "a:1", "process_id": 0, "num_processes": 0}, "num_processes must be at least 1"),
        (
            {"coordinator": "a:1", "process_id": 0, "num_processes": 2, "distributed": "auto"},
            "distributed auto finds coordinator",
        ),
    ],
)
def test_flags_that_contradict_each_other_are_refused(flags: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Config(**flags)
