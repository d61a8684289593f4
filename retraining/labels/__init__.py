"""What people say of pictures: a log of answers beside the set, a page to give them, and their agreement."""
