set -eu
cd "$(dirname "$0")"
test "$(sh greeting.sh Ada)" = 'Invoice for Ada'
