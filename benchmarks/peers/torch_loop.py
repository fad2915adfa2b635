"""PyTorch: a plain training loop over indexed batches."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from benchmarks.peers.common import LATENTS, LEARNING_RATE, SETTINGS, load_images
from benchmarks.tasks.reports import Report, laps


def torch_loop(examples: str, model: str, seconds: float, compiled: bool = False) -> Report:
    """Trains in a plain loop.

    Args:
      examples: the prepared directory.
      model: a key of `SETTINGS`.
      seconds: the shortest time to measure.
      compiled: whether `torch.compile` compiles the loss and its gradient.
    """
    setting = SETTINGS[model]
    torch.manual_seed(0)
    images = torch.from_numpy(load_images(examples).transpose(0, 3, 1, 2).copy())
    encoder, decoder = _networks(model)

    def loss_of(batch):
        mean, log_variance = encoder(batch).chunk(2, dim=-1)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        distortion = functional.binary_cross_entropy_with_logits(decoder(z), batch, reduction="sum")
        rate = 0.5 * (log_variance.exp() + mean.square() - 1 - log_variance).sum()
        return (distortion + rate) / len(batch)

    if compiled:
        loss_of = torch.compile(loss_of)
    weights = [*encoder.parameters(), *decoder.parameters()]
    if setting.optimizer == "adam":
        optimizer: Any = torch.optim.Adam(weights, lr=LEARNING_RATE, eps=1e-7)
    else:
        optimizer = torch.optim.RMSprop(weights, lr=LEARNING_RATE, alpha=0.9, eps=1e-7)

    def lap() -> float:
        losses = []
        for rows in torch.randperm(len(images)).split(setting.batch_size):
            optimizer.zero_grad()
            loss = loss_of(images[rows])
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return float(torch.stack(losses).mean())

    return laps(lap, images=len(images), seconds=seconds)


def _networks(model: str):
    """The encoder (images to mean and log-variance, joined) and the decoder (latents to logits)."""

    def transposed(inputs, outputs):
        return nn.ConvTranspose2d(inputs, outputs, 3, 2, padding=1, output_padding=1)

    if model == "mlp":
        encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 2 * LATENTS)
        )
        decoder = nn.Sequential(
            nn.Linear(LATENTS, 256), nn.ReLU(), nn.Linear(256, 784), nn.Unflatten(1, (1, 28, 28))
        )
    else:
        encoder = nn.Sequential(
            nn.Conv2d(1, 32, 3, 2, padding=1), nn.ReLU(),
            nn.Conv2d(32, 64, 3, 2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(3136, 16), nn.ReLU(), nn.Linear(16, 2 * LATENTS),
        )  # fmt: skip
        decoder = nn.Sequential(
            nn.Linear(LATENTS, 3136), nn.ReLU(), nn.Unflatten(1, (64, 7, 7)),
            transposed(64, 64), nn.ReLU(), transposed(64, 32), nn.ReLU(),
            nn.ConvTranspose2d(32, 1, 3, padding=1),
        )  # fmt: skip
    for weight in (*encoder.parameters(), *decoder.parameters()):
        if weight.dim() > 1:
            nn.init.xavier_uniform_(weight)
        else:
            nn.init.zeros_(weight)
    return encoder, decoder
