"""Step 9: re-read copies, compare what is there with what is known, mend from a good copy."""
