"""`python -m faretra`: the command `faretra`."""

from faretra._command import main

if __name__ == "__main__":
    main()
