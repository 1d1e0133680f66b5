set -eu
cd "$(dirname "$0")"
test "$(printf 'item=tea quantity=2\nitem=tea quantity=5000\n' | sh detect.sh)" = 'item=tea quantity=5000'
