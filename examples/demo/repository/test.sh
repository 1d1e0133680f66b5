# Everything that must hold before a commit goes to main. The fleet's role runs this on the merged tree.
set -eu
cd "$(dirname "$0")"
for test in detector/test.sh services/*/test.sh; do
  sh "$test" || { echo "failed: $test"; exit 1; }
done
# Tables that services use must have been migrated.
for table in $(sed -n 's/^# table: //p' services/*/*.sh); do
  grep -q "CREATE TABLE $table " db/migrations/*.sql || { echo "no migration creates the table $table"; exit 1; }
done
grep -q '@COMMIT@' site/index.html || { echo 'site/index.html must show its version'; exit 1; }
