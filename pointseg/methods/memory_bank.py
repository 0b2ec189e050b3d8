"""A memory of negative keys: for each class, the newest unit vectors that are certainly not of that class.

Source: U2PL (Wang et al., CVPR 2022), category-wise memory bank. Its queues live in CPU lists; here they are buffers
beside the network, so a checkpoint holds them and drawing needs no transfer.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pointseg.errors import InputError
from pointseg.methods.base import full_precision
from pointseg.methods.distributed import all_gather_rows


class MemoryBank(nn.Module):
    """One first-in-first-out queue of keys per class; all processes hold the same.

    Keys are stored with length 1, which is all that a cosine needs and keeps fp16 safe. The bank takes
    ``sum(sizes) * width`` numbers: 13 classes of 4 096 keys of width 256 are 27 MB in fp16, 54 MB in fp32.

    Args:
        num_classes: K.
        width: E, of a key.
        size: keys kept for each class.
        larger: sizes of classes that keep another number of keys, by class id.
        dtype: of the stored keys.

    Raises:
        InputError: a size is below 1 or ``larger`` names a class that does not exist.
    """

    keys: Tensor
    fill: Tensor
    head: Tensor
    size: Tensor
    offset: Tensor

    def __init__(
        self,
        num_classes: int,
        width: int,
        size: int,
        *,
        larger: Mapping[int, int] | None = None,
        dtype: torch.dtype = torch.float16,
    ) -> None:
        super().__init__()
        sizes = [size] * num_classes
        for k, own in (larger or {}).items():
            if not 0 <= k < num_classes:
                raise InputError(f"the memory bank has no class {k}; give ids from 0 to {num_classes - 1}")
            sizes[k] = own
        if min(sizes) < 1:
            raise InputError(f"a class of the memory bank keeps {min(sizes)} keys; it must keep at least 1")
        self.register_buffer("keys", torch.zeros(sum(sizes), width, dtype=dtype))
        self.register_buffer("fill", torch.zeros(num_classes, dtype=torch.int64))
        self.register_buffer("head", torch.zeros(num_classes, dtype=torch.int64))
        self.register_buffer("size", torch.tensor(sizes), persistent=False)
        self.register_buffer("offset", torch.tensor(sizes).cumsum(0) - self.size, persistent=False)

    @torch.no_grad()
    def push(self, keys: Tensor, classes: Tensor, priority: Tensor, limit: int) -> None:
        """Add keys of all processes: for each class the ``limit`` ones of highest priority, the first highest.

        With random priorities that is a uniform sub-sample of the keys of all processes, the same on each of them.

        Args:
            keys: (n, E) of any length but 0; the same row may come for several classes.
            classes: (n,) int64, whose queue a key goes to.
            priority: (n,) fp32.
            limit: keys per class.
        """
        unit = F.normalize(full_precision(keys), dim=1).to(self.keys.dtype)
        unit, classes, priority = all_gather_rows(unit), all_gather_rows(classes), all_gather_rows(priority)
        order = priority.argsort(descending=True, stable=True)
        order = order[classes[order].argsort(stable=True)]
        classes = classes[order]
        found = torch.bincount(classes, minlength=len(self.fill))
        place = torch.arange(len(order), device=order.device) - (found.cumsum(0) - found)[classes]
        kept = place < self.size.clamp(max=limit)[classes]
        classes, place = classes[kept], place[kept]
        slot = self.offset[classes] + (self.head[classes] + place) % self.size[classes]
        self.keys[slot] = unit[order[kept]]
        added = torch.minimum(found, self.size.clamp(max=limit))
        self.head.copy_((self.head + added) % self.size)
        self.fill.copy_(torch.minimum(self.fill + added, self.size))

    @torch.no_grad()
    def draw(self, classes: Tensor, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Rows of ``keys`` for each class (P,), uniform over its queue and with replacement: (P, *shape) int64.

        For a class whose queue is empty they point at zeros; ``fill`` says so.
        """
        uniform = torch.rand(len(classes), *shape, generator=generator, device=classes.device)
        columns = (-1, *[1] * len(shape))
        fill = self.fill[classes].view(columns)
        slot = torch.minimum((uniform * fill).long(), (fill - 1).clamp(min=0))
        return self.offset[classes].view(columns) + slot

    def filled(self) -> Tensor:
        """Share of each queue in use, (K,) fp32."""
        return self.fill / self.size
