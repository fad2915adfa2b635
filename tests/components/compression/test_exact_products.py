import math

import numpy as np

from components.compression.exact_products import ExactMatrix, rounded


def test_products_have_the_same_bits_in_any_order():
    rng = np.random.default_rng(0)
    matrix = ExactMatrix(rng.normal(0, 1, (300, 7)))
    activations = rounded(rng.normal(0, 20, (50, 300)))
    product = matrix.product(activations)
    order = rng.permutation(300)
    shuffled = ExactMatrix(np.zeros((300, 7)))
    shuffled.weights = matrix.weights[order]
    assert (shuffled.product(activations[:, order]) == product).all()
    columns = matrix.weights.T
    exact = [
        [math.fsum(a * w for a, w in zip(row, column, strict=True)) for column in columns]
        for row in activations[:3]
    ]
    assert (product[:3] == np.array(exact)).all()


def test_products_are_close_to_those_of_the_weights():
    rng = np.random.default_rng(1)
    weights, x = rng.normal(0, 3, (100, 5)), rng.normal(0, 1, (9, 100))
    np.testing.assert_allclose(ExactMatrix(weights).product(rounded(x)), x @ weights, atol=2e-3)


def test_large_activations_and_weights_of_zero_stay_finite():
    assert np.isfinite(ExactMatrix(np.zeros((4, 2))).product(rounded(np.full((1, 4), 1e9)))).all()
    assert rounded(np.array([1e9]))[0] == 2.0**24 - 1
