"""A plug-in that imports what is not there."""

import no_such_framework  # noqa: F401
