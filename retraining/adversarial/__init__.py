"""Training of generators against critics: plan, losses, loop and what a step costs."""
