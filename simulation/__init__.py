"""A plant without hardware, standing behind the drivers' interfaces and protocols."""
