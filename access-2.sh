#!/bin/sh
# ./access-2.sh A B: one request for each session A to B through balancer 2, and the backend that answered.
# URL in the environment takes another address than the lab's.
exec "$(dirname "$0")/scripts/access" "${URL:-http://localhost:9080}" "$@"
