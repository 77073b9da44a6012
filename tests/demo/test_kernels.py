"""Kernels behind files: they answer, however many TCP ports others take, and leave nothing."""

from pathlib import Path

import pytest

from tanet.demo.kernels import FileKernelManager

pytestmark = pytest.mark.slow


def test_a_kernel_behind_files_answers_and_leaves_no_file(capfd):
    manager, other = FileKernelManager(), FileKernelManager()
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=600)
    connection = Path(manager.connection_file)
    assert manager.get_connection_info()["transport"] == "ipc"
    assert len(files_of(connection)) == 6, "the connection file, and a socket for each of five channels"
    assert manager.ip != other.ip
    client.execute_interactive("print(6 * 7)", timeout=600)
    assert capfd.readouterr().out == "42\n"
    client.stop_channels()
    manager.shutdown_kernel()
    assert files_of(connection) == []


def test_nbval_starts_such_kernels(request):
    if not request.config.pluginmanager.hasplugin("nbval"):
        pytest.skip("nbval is switched off")
    from nbval import kernel

    assert kernel.KernelManager is FileKernelManager


def files_of(connection: Path) -> list[Path]:
    return list(connection.parent.glob(f"{connection.stem}*"))
