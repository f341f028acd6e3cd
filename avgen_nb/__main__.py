"`python -m avgen_nb` is the command `avgen`."
from avgen_nb.cli import main

raise SystemExit(main())
