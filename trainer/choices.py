"""The optimizers, objectives and schedules to choose from, by the name that configs use.

To add one, write its class and name it here: the options, their help and their error messages
follow. This module imports no TensorFlow; a registry imports a class when it is looked up.
"""

from components.base.registry import Registry

OPTIMIZERS = Registry(
    adam="trainer.optimization.optimizer:Adam",
    adamw="trainer.optimization.optimizer:Adam",
    lamb="trainer.optimization.optimizer:LAMB",
    lion="trainer.optimization.optimizer:Lion",
    muon="trainer.optimization.muon:Muon",
    rmsprop="trainer.optimization.optimizer:RMSprop",
)

# The optimizers that accept a weight decay. It is the only difference between adamw and adam.
OPTIMIZERS_WITH_DECAY = ("adamw", "lamb", "lion", "muon")

# Each builds an objective from its number of draws per example.
OBJECTIVES = Registry(
    elbo="components.model.objective:elbo",
    path_derivative="components.model.objective:path_derivative",
    importance_weighted="components.model.objective:importance_weighted",
)

OBJECTIVES_WITH_SAMPLES = ("importance_weighted",)

LEARNING_RATE_SCHEDULES = Registry(
    constant="trainer.optimization.schedules:ConstantRate",
    cosine="trainer.optimization.schedules:CosineRate",
    one_cycle="trainer.optimization.schedules:OneCycleRate",
)

BETA_SCHEDULES = Registry(
    constant="trainer.optimization.schedules:ConstantBeta",
    linear="trainer.optimization.schedules:LinearBeta",
    cyclical="trainer.optimization.schedules:CyclicalBeta",
)
