"""Storage back ends behind one protocol, whose every answer about presence is yes, no or unknown."""
