"""Answers that a reader may well give, and that are wrong; notebooks/solutions holds the right ones."""

import pytest
import torch

from tanet.exercises import WrongAnswer
from tanet.exercises.notebook_01 import check_1, check_2, check_3


def matrix(importance_of, tap_of):
    def answer(importance, kernel):
        frames, middle = len(importance), len(kernel) // 2
        M = torch.zeros(frames, frames)
        for t in range(frames):
            for s in range(frames):
                if 0 <= s - t + middle < len(kernel):
                    M[t, s] = kernel[tap_of(t, s, middle)] * importance[importance_of(t, s)]
        return M

    return answer


@pytest.mark.parametrize(
    "wrong",
    [
        matrix(lambda t, s: t, lambda t, s, middle: s - t + middle),  # V of the output frame
        matrix(lambda t, s: s, lambda t, s, middle: t - s + middle),  # the kernel turned round
        lambda V, W: matrix(lambda t, s: s, lambda t, s, middle: s - t + middle)(V, W).T,
        lambda V, W: torch.diag(V),
    ],
)
def test_matrices_that_mix_up_rows_and_columns_are_refused(wrong):
    with pytest.raises(WrongAnswer, match="for K = [13], M"):
        check_1(wrong)


def sigmoid_gradient(dV, V):
    return dV * V * (1 - V)


def softmax_gradient(dW, W):
    return W * (dW - (W * dW).sum(-1, keepdim=True))


@pytest.mark.parametrize(
    "before_sigmoid, before_softmax, name",
    [
        (lambda dV, V: dV, softmax_gradient, "sigmoid"),
        (lambda dV, V: dV * V, softmax_gradient, "sigmoid"),
        (sigmoid_gradient, lambda dW, W: dW, "softmax"),
        (sigmoid_gradient, lambda dW, W: dW * W * (1 - W), "softmax"),  # as if the taps did not share their sum
        (sigmoid_gradient, lambda dW, W: W * (dW - dW.mean(-1, keepdim=True)), "softmax"),
    ],
)
def test_gradients_that_leave_out_a_factor_are_refused(before_sigmoid, before_softmax, name):
    with pytest.raises(WrongAnswer, match=f"the gradient before the {name}"):
        check_2(before_sigmoid, before_softmax)


def test_half_an_answer_to_exercise_2_is_no_answer(capsys):
    check_2(sigmoid_gradient, lambda dW, W: ...)
    assert capsys.readouterr().out == "exercise 2: not answered yet\n"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda a, b: torch.cat([a, b])[:5],
        lambda a, b: a * b,
        lambda a, b: torch.stack([a[0], a[1], a[2] * b[0], b[1], b[2]]),
        lambda a, b: torch.nn.functional.conv1d(a.view(1, 1, 3), b.view(1, 1, 3), padding=2).flatten(),  # b not turned
    ],
)
def test_kernels_that_are_no_convolution_are_refused(wrong):
    with pytest.raises(WrongAnswer, match="the kernel"):
        check_3(wrong)
