# Builds the tour with cgo against the library and header of the test, and runs it.
set -eu
export CGO_ENABLED=1 GO111MODULE=off
export CGO_CFLAGS="-I$FARETRA_INCLUDE -Wall -Werror" CGO_LDFLAGS="-L$(dirname "$FARETRA_LIBRARY")"
exec go run tour.go
