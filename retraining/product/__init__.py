"""From a person's own labelled pictures of any product to an engine folder that a station takes."""
