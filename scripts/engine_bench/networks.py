"""One MinkUNet18, written twice: in MinkowskiEngine's names (ours and the real one) and in spconv's."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

PLANES = (32, 64, 128, 256, 256, 128, 96, 96)
STEM, CLASSES, CHANNELS = 32, 20, 3
LEVELS = 1 + len(PLANES) // 2


class MinkowskiUNet(nn.Module):
    """MinkUNet18 with a 3^3 stem, in the names of the engine module ``ME``."""

    def __init__(self, ME: Any) -> None:
        super().__init__()
        self.cat = ME.cat
        down, up = PLANES[:4], PLANES[4:]
        self.stem = _me_unit(ME, CHANNELS, STEM, 3)
        width = STEM
        self.down = nn.ModuleList()
        for planes in down:
            self.down.append(nn.Sequential(_me_unit(ME, width, width, 2, 2), *_me_blocks(ME, width, planes)))
            width = planes
        skips = (*down[-2::-1], STEM)
        self.up, self.blocks = nn.ModuleList(), nn.ModuleList()
        for planes, skip in zip(up, skips, strict=True):
            self.up.append(_me_up(ME, width, planes))
            self.blocks.append(nn.Sequential(*_me_blocks(ME, planes + skip, planes)))
            width = planes
        self.final = ME.MinkowskiConvolution(width, CLASSES, kernel_size=1, bias=True, dimension=3)

    def forward(self, x: Any) -> Any:
        out = self.stem(x)
        kept = [out]
        for level in self.down:
            kept.append(level(kept[-1]))
        out = kept.pop()
        for up, blocks in zip(self.up, self.blocks, strict=True):
            out = blocks(self.cat(up(out), kept.pop()))
        return self.final(out)


class _MinkowskiBlock(nn.Module):
    def __init__(self, ME: Any, channels: int, planes: int) -> None:
        super().__init__()
        self.first = _me_unit(ME, channels, planes, 3)
        self.second = nn.Sequential(
            ME.MinkowskiConvolution(planes, planes, kernel_size=3, dimension=3), ME.MinkowskiBatchNorm(planes)
        )
        self.short = None
        if channels != planes:
            self.short = nn.Sequential(
                ME.MinkowskiConvolution(channels, planes, kernel_size=1, dimension=3), ME.MinkowskiBatchNorm(planes)
            )
        self.relu = ME.MinkowskiReLU(inplace=True)

    def forward(self, x: Any) -> Any:
        out = self.second(self.first(x))
        out += x if self.short is None else self.short(x)
        return self.relu(out)


def _me_blocks(ME: Any, channels: int, planes: int) -> list[nn.Module]:
    return [_MinkowskiBlock(ME, channels, planes), _MinkowskiBlock(ME, planes, planes)]


def _me_unit(ME: Any, channels: int, planes: int, size: int, stride: int = 1) -> nn.Sequential:
    convolution = ME.MinkowskiConvolution(channels, planes, kernel_size=size, stride=stride, dimension=3)
    return nn.Sequential(convolution, ME.MinkowskiBatchNorm(planes), ME.MinkowskiReLU(inplace=True))


def _me_up(ME: Any, channels: int, planes: int) -> nn.Sequential:
    convolution = ME.MinkowskiConvolutionTranspose(channels, planes, kernel_size=2, stride=2, dimension=3)
    return nn.Sequential(convolution, ME.MinkowskiBatchNorm(planes), ME.MinkowskiReLU(inplace=True))


class SpconvUNet(nn.Module):
    """The same network in spconv's names."""

    def __init__(self) -> None:
        super().__init__()
        import spconv.pytorch as spconv

        self.cat = spconv_cat
        down, up = PLANES[:4], PLANES[4:]
        self.stem = _SpUnit(spconv.SubMConv3d(CHANNELS, STEM, 3, bias=False, indice_key="subm0"), STEM)
        width = STEM
        self.down = nn.ModuleList()
        for level, planes in enumerate(down, 1):
            convolution = spconv.SparseConv3d(width, width, 2, 2, bias=False, indice_key=f"down{level}")
            self.down.append(nn.Sequential(_SpUnit(convolution, width), *_sp_blocks(width, planes, level)))
            width = planes
        skips = (*down[-2::-1], STEM)
        self.up, self.blocks = nn.ModuleList(), nn.ModuleList()
        for level, planes, skip in zip((4, 3, 2, 1), up, skips, strict=True):
            convolution = spconv.SparseInverseConv3d(width, planes, 2, bias=False, indice_key=f"down{level}")
            self.up.append(_SpUnit(convolution, planes))
            self.blocks.append(nn.Sequential(*_sp_blocks(planes + skip, planes, level - 1)))
            width = planes
        self.final = nn.Linear(width, CLASSES)

    def forward(self, x: Any) -> Any:
        out = self.stem(x)
        kept = [out]
        for level in self.down:
            kept.append(level(kept[-1]))
        out = kept.pop()
        for up, blocks in zip(self.up, self.blocks, strict=True):
            out = blocks(self.cat(up(out), kept.pop()))
        return out.replace_feature(self.final(out.features))


class _SpconvBlock(nn.Module):
    def __init__(self, channels: int, planes: int, level: int) -> None:
        super().__init__()
        import spconv.pytorch as spconv

        key = f"subm{level}"
        self.first = _SpUnit(spconv.SubMConv3d(channels, planes, 3, bias=False, indice_key=key), planes)
        self.second = spconv.SubMConv3d(planes, planes, 3, bias=False, indice_key=key)
        self.norm = nn.BatchNorm1d(planes)
        self.short = None
        if channels != planes:
            self.short = nn.Sequential(nn.Linear(channels, planes, bias=False), nn.BatchNorm1d(planes))

    def forward(self, x: Any) -> Any:
        out = self.second(self.first(x))
        features = self.norm(out.features)
        features += x.features if self.short is None else self.short(x.features)
        return out.replace_feature(torch.relu_(features))


def _sp_blocks(channels: int, planes: int, level: int) -> list[nn.Module]:
    return [_SpconvBlock(channels, planes, level), _SpconvBlock(planes, planes, level)]


class _SpUnit(nn.Module):
    def __init__(self, convolution: nn.Module, planes: int) -> None:
        super().__init__()
        self.convolution, self.norm = convolution, nn.BatchNorm1d(planes)

    def forward(self, x: Any) -> Any:
        out = self.convolution(x)
        return out.replace_feature(torch.relu_(self.norm(out.features)))


def spconv_cat(a: Any, b: Any) -> Any:
    """Features side by side; the rows of both are the same."""
    return a.replace_feature(torch.cat((a.features, b.features), dim=1))
