"""Training of classifiers: plan, losses, optimisers, augmentation, loop, validation and stages."""
