"""`recenv.scripts`: import it by that name; the folder is mapped below `recenv` when the package is installed."""

if not __name__.startswith("recenv."):
    raise ImportError("import 'recenv.scripts', not 'scripts': a second copy of each class would not compare equal")
