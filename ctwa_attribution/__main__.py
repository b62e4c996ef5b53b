"""`python -m ctwa_attribution`: the command `ctwa`."""

from ctwa_attribution import main

main()
