"""The algorithm of boost_corr, written anew for PyTorch after its description: the peer on the same card.

Not its code. As there: a buffer per level; for each delay the product of two slices is made in memory and then summed;
pairs of frames are summed for the next level; a level is bfloat16 while 7 * 2**level is below 127 and float32 above.
Photon events are scattered into dense frames first. Two-time: every count is divided by the mean of its frame and
static bin, then one float32 matrix product a dynamic bin.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

MAX_COUNT = 7
LONGEST = 8


class Dense:
    """Sums of G, IP and IF per pixel; lags 1 to 8 at level 0, 5 to 8 above."""

    def __init__(self, n_levels: int, n_pixels: int, device: str) -> None:
        self.n_levels = n_levels
        self.device = device
        types = [torch.bfloat16 if MAX_COUNT << level < 127 else torch.float32 for level in range(n_levels)]
        self.last = [torch.zeros((LONGEST, n_pixels), dtype=kind, device=device) for kind in types]
        self.first = [torch.zeros((0, n_pixels), dtype=kind, device=device) for kind in types]
        self.odd = [torch.zeros((0, n_pixels), dtype=kind, device=device) for kind in types]
        self.total = torch.zeros((n_levels, n_pixels), device=device)
        self.products = [torch.zeros((len(self.lags(level)), n_pixels), device=device) for level in range(n_levels)]
        self.n = [0] * n_levels

    @staticmethod
    def lags(level: int) -> range:
        """The delays of a level, in its own frames."""
        return range(5 if level else 1, LONGEST + 1)

    def push(self, frames: torch.Tensor, level: int = 0) -> None:
        """Take the frames of a level that follow, (n, P) on the device."""
        frames = frames.to(self.last[level].dtype)
        if len(self.first[level]) < LONGEST:
            self.first[level] = torch.cat([self.first[level], frames])[:LONGEST]
        held = torch.cat([self.last[level], frames])
        for row, lag in enumerate(self.lags(level)):
            self.products[level][row] += torch.sum(held[LONGEST:] * held[LONGEST - lag : len(held) - lag], dim=0)
        self.total[level] += torch.sum(frames, dim=0)
        self.last[level] = held[-LONGEST:]
        self.n[level] += len(frames)
        if level + 1 < self.n_levels:
            whole = torch.cat([self.odd[level], frames])
            n_pairs = len(whole) // 2
            self.odd[level] = whole[2 * n_pairs :]
            if n_pairs:
                kind = self.last[level + 1].dtype
                self.push(whole[: 2 * n_pairs : 2].to(kind) + whole[1 : 2 * n_pairs : 2].to(kind), level + 1)

    def g2(self) -> dict[int, NDArray[np.float64]]:
        """Delay in frames -> G / (IP IF) of each pixel."""
        found = {}
        for level in range(self.n_levels):
            for row, lag in enumerate(self.lags(level)):
                n = self.n[level] - lag
                if n > 0:
                    past = self.total[level] - self.last[level][-lag:].float().sum(dim=0)
                    future = self.total[level] - self.first[level][:lag].float().sum(dim=0)
                    g2 = self.products[level][row] * n / (past * future)
                    found[lag << level] = g2.double().cpu().numpy()
        return found


def scattered(frame: torch.Tensor, pixel: torch.Tensor, count: torch.Tensor, n_frames: int, n_pixels: int):
    """Events of ``n_frames`` frames as dense uint8 frames."""
    dense = torch.zeros(n_frames * n_pixels, dtype=torch.uint8, device=frame.device)
    dense.index_add_(0, frame.long() * n_pixels + pixel.long(), count)
    return dense.reshape(n_frames, n_pixels)


def two_time(counts: torch.Tensor, edge: NDArray[np.int64]) -> torch.Tensor:
    """(T, P) counts whose static bins are ``edge[s]:edge[s + 1]`` -> (T, T) float32 C of one dynamic bin."""
    y = counts.float()
    for low, high in zip(edge[:-1].tolist(), edge[1:].tolist(), strict=True):
        mean = y[:, low:high].mean(dim=1, keepdim=True)
        y[:, low:high] /= torch.where(mean > 0, mean, 1.0)
    total = y.sum(dim=1)
    return (y @ y.T) * y.shape[1] / (total[:, None] * total[None, :])


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
