#!/bin/sh
# ./access-1.sh A B: one request for each session A to B through balancer 1, and the backend that answered.
# URL in the environment takes another address than the lab's.
exec "$(dirname "$0")/scripts/access" "${URL:-http://localhost:8080}" "$@"
