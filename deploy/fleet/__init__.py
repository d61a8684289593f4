"""The stations of a plant, as their signed manifests show them; and what follows for a staged rollout."""
