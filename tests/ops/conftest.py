import pytest


@pytest.fixture
def compiled(monkeypatch):
    """A list [(name, kernel)] of Triton's programs that are compiled for a Hopper GPU instead of run."""
    import triton
    from support.triton_here import HopperHere
    from triton.runtime.jit import JITFunction

    listed, run = [], JITFunction.run

    def compile_only(self, *arguments, grid, warmup, **options):
        listed.append((self.__name__, run(self, *arguments, grid=grid, warmup=True, **options)))

    monkeypatch.setattr(JITFunction, "run", compile_only)
    triton.runtime.driver.set_active(HopperHere())
    yield listed
    triton.runtime.driver.set_active(None)  # Triton looks for the real driver again
