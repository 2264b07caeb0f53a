"""`recenv.generators`: import it by that name; the folder is mapped below `recenv` when the package is installed."""

if not __name__.startswith("recenv."):
    raise ImportError(
        "import 'recenv.generators', not 'generators': a second copy of each class would not compare equal"
    )
