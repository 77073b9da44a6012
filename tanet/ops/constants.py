"""What torch's compiler need not look into."""

from collections.abc import Callable


def constant_when_compiled(function: Callable) -> Callable:
    """Marks `function` as torch.compiler.assume_constant_result does: compiled code holds its result as a constant.

    torch's decorator imports the compiler, a second and more in every process that imports this package.
    """
    function._dynamo_marked_constant = True
    return function
