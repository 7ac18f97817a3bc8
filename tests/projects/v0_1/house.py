"""A gate of the user's own, which cannot judge every row."""


def in_the_present(pair):
    if "kite" in pair.simple:
        raise ValueError("kites are not understood")
    return " was " not in pair.enhanced
