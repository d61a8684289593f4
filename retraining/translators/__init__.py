"""Training of translators, which turn a picture of one domain into one of another: plan, loop, drawing."""
