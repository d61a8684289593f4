"""PE-GAN: one generator that puts defects onto backgrounds (production) and removes them (elimination).

Source: He et al. 2024 (PE-GAN), Tables 1 and 2. With nine classes and the background, 3 channels and 128 px
the generator has 2,310,272 parameters and the critic 4,441,920. The tables leave unsaid: how the label
enters (StarGAN's planes), padding, biases (none where a normalisation follows), and the order in a residual
block (StarGAN's). The critic's score is linear: the table's leaky rectifier after it would cut a Wasserstein
score off.
"""

from __future__ import annotations

from models.translators.layers import ConditionalGenerator, TwoHeadedCritic

_WIDTHS = (32, 64, 128, 256, 512)


class PEGenerator(ConditionalGenerator):
    """Table 1: 32, 64, 128 filters, kernels 7, 5, 5, six residual blocks of 128, and back."""

    def __init__(self, size: int = 128, channels: int = 1, domains: int = 10) -> None:
        super().__init__(size, channels, domains, width=32, kernel=5)


class PECritic(TwoHeadedCritic):
    """Table 2: five 5 x 5 convolutions of stride 2, 32 to 512 filters, and two outputs."""

    def __init__(self, size: int = 128, channels: int = 1, domains: int = 10) -> None:
        super().__init__(size, channels, domains, widths=_WIDTHS, kernel=5)
