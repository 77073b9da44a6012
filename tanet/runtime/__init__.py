"""What a program needs from the machine: processes, devices, files, progress.

processes  one process or several, and how a notebook starts them
devices    tensors to and from GPUs, precision, memory format, determinism
graphs     CUDA graphs: kernels recorded once and launched together
files      text, JSON and paths as users write them, files that are written whole or not at all
disks      what disks answer: whether a file is there, can be written, is locked
progress   a bar at a terminal and in JupyterLab, plain lines in batch logs
"""

from tanet.runtime.devices import FORMATS, autocast, copy_to_cpu, delayed_by_one, deterministic, repeatable, to_device
from tanet.runtime.disks import check_writable, exists, file_status, locked
from tanet.runtime.files import atomic_write, decode_text, read_json, read_text, sha256, user_path, write_text
from tanet.runtime.graphs import WARM_UP, Captured, CapturedForward, can_capture, capture, first_line
from tanet.runtime.processes import Process, launch, process_group, require_gpus, worker_count
from tanet.runtime.progress import in_jupyter, track

__all__ = [
    "Captured",
    "CapturedForward",
    "FORMATS",
    "Process",
    "WARM_UP",
    "atomic_write",
    "autocast",
    "can_capture",
    "capture",
    "check_writable",
    "copy_to_cpu",
    "decode_text",
    "delayed_by_one",
    "deterministic",
    "exists",
    "file_status",
    "first_line",
    "in_jupyter",
    "launch",
    "locked",
    "process_group",
    "read_json",
    "read_text",
    "repeatable",
    "require_gpus",
    "sha256",
    "to_device",
    "track",
    "user_path",
    "worker_count",
    "write_text",
]
