"""Repositories of engines and of orders, by The Update Framework: written here, read by stations."""
