"""The daemon with its surroundings broken on purpose: what is promised must hold all the same."""
