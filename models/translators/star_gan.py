"""StarGAN: one generator for translations between any two of many domains.

Source: Choi et al. 2018, section 7.2 and Tables 4 and 5. With ten domains, 3 channels and 128 px the
generator has 8,446,208 parameters and the critic, six convolutions, 44,803,008; at 64 px the critic has five
of them and 11,196,352.
"""

from __future__ import annotations

from models.adversarial_layers import doublings
from models.translators.layers import ConditionalGenerator, TwoHeadedCritic


class StarGenerator(ConditionalGenerator):
    """64, 128, 256 filters, kernels 7, 4, 4, six residual blocks of 256, and back."""

    def __init__(self, size: int = 128, channels: int = 1, domains: int = 10) -> None:
        super().__init__(size, channels, domains, width=64, kernel=4)


class StarCritic(TwoHeadedCritic):
    """4 x 4 convolutions of stride 2 from 64 filters on, doubled each time, down to 2 x 2 places."""

    def __init__(self, size: int = 128, channels: int = 1, domains: int = 10) -> None:
        widths = tuple(64 << inward for inward in range(doublings(size) + 1))
        super().__init__(size, channels, domains, widths=widths, kernel=4)
