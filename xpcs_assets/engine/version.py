"""The engine's name. Apart from the engine, so that a recipe can be made without loading compiled code."""

ENGINE = "multitau-1"
"""Definition and version of the engine, part of every recipe: it changes when a result would."""
