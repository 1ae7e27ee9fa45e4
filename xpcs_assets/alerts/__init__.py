"""Word to people: what is wrong now, told once when it begins and once when it is over, many things in one message."""
