import pytest
import tensorflow as tf

from components.model import xla
from components.model.likelihoods.logistic_mixture import LOGISTIC_MIXTURE


def graph_of_log_prob() -> str:
    @tf.function(autograph=False)
    def log_prob(outputs, x):
        return LOGISTIC_MIXTURE.distribution(outputs).log_prob(x)

    shapes = [(2, 3, 3, LOGISTIC_MIXTURE.num_outputs(1)), (2, 3, 3, 1)]
    specs = (tf.TensorSpec(shape, tf.float32) for shape in shapes)
    return str(log_prob.get_concrete_function(*specs).graph.as_graph_def())


def test_a_graph_has_compiled_parts_except_where_plain_operations_are_asked_for():
    assert "_XlaMustCompile" in graph_of_log_prob()
    with xla.plain_operations():
        assert "_XlaMustCompile" not in graph_of_log_prob()
    assert "_XlaMustCompile" in graph_of_log_prob()


def test_parts_compile_again_after_an_error():
    with pytest.raises(ValueError, match="while tracing"), xla.plain_operations():
        assert not xla.parts_compile()
        raise ValueError("while tracing")
    assert xla.parts_compile()
