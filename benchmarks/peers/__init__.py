"""Query strategies of other libraries on the outputs of our networks, in a Python environment of their own."""
