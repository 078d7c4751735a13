"""The same ground for every process: thread counts, allocator, hash seed, CPUs.

Assigned by whoever starts a worker, before the worker imports anything, and recorded with the row.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

# Two identical PyTorch processes differed by up to 25 % for their whole lives while glibc returned and
# mapped memory again (1,300-2,200 page faults a step); with these thresholds there are none. On 4 KiB pages, which
# physical pages a process got is another lottery: NumPy's pairs differed by 1.35 %, on huge ones (glibc >= 2.35, Linux)
# by 0.8 %, in one self-check each.
ALLOCATOR = {
    "MALLOC_TRIM_THRESHOLD_": "2000000000",
    "MALLOC_MMAP_THRESHOLD_": "2000000000",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
DROPPED = (
    *("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD", "TCMALLOC_", "PYTHON", "PYTEST_", "VIRTUAL_ENV"),
    *("OMP_", "KMP_", "GOMP_", "MKL_", "OPENBLAS_", "BLIS_", "NUMEXPR_", "NPY_", "NUMPY_"),
    *(
        "ONEDNN_",
        "DNNL_",
        "MKLDNN_",
        "ATEN_",
        "TORCH_",
        "TORCHINDUCTOR_",
        "TORCHDYNAMO_",
        "PYTORCH_",
        "TF_",
        "XLA_",
        "JAX_",
        "FLAX_",
        "MXNET_",
        "KERAS_",
        "CUBLAS_",
        "NVIDIA_TF32",
    ),
)
# A user who wants none of what lies in the home directory gets none of it.
KEPT = ("PYTHONNOUSERSITE",)


def variables(threads: int, allocator: str = "steady") -> dict[str, str]:
    """Environment variables for a worker with that many threads.

    `allocator` is `steady` (glibc keeps what it has) or `system` (left alone). Idle OpenMP workers
    wait passively, so that a process whose turn it is not leaves the core alone.
    """
    count = str(threads)
    chosen = {
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "NUMEXPR_NUM_THREADS": count,
        "MXNET_CPU_WORKER_NTHREADS": count,
        "OMP_WAIT_POLICY": "PASSIVE",
        "KMP_BLOCKTIME": "0",
        "PYTHONHASHSEED": "0",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    return {**chosen, **(ALLOCATOR if allocator == "steady" else {})}


def environment(chosen: Mapping[str, str], source_root: str) -> dict[str, str]:
    """This process's environment with the chosen variables, and with only this project on Python's path.

    What the user's shell exports for allocators, threads, Python or a framework is dropped: it would
    move figures without a trace in the row. So would the user's ~/.keras/keras.json; Keras finds an empty folder.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(DROPPED) or name in KEPT}
    own = {"PYTHONPATH": source_root, "PYTHONSAFEPATH": "1", "KERAS_HOME": os.path.join(source_root, ".keras")}
    return {**kept, **chosen, **own}


def pin(cpus: set[int]) -> None:
    """Bind every thread of this process to those CPUs, where the system can (Linux)."""
    if not hasattr(os, "sched_setaffinity"):
        return
    os.sched_setaffinity(0, cpus)
    for thread in os.listdir("/proc/self/task"):
        try:
            os.sched_setaffinity(int(thread), cpus)
        except ProcessLookupError:
            continue


def allowed_cpus() -> list[int]:
    """The CPUs that this process may use, in order."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
