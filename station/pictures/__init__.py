"""Pictures of parts: saved under a quota, with the deciding patch drawn on them."""
