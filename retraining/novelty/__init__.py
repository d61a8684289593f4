"""How far a part is from what an engine was trained on: the methods, and what they are worth."""
