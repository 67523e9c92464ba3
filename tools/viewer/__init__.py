"""``vrmm view``: a head in the browser.

``state`` says everything that a picture depends on, ``picture`` draws it, ``options`` writes it as a command line;
``server``, ``session`` and the panels show it to clients.
"""
