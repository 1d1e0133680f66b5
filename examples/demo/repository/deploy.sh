# Publishes site/ to the folder that the web server serves, with the commit written into every page.
set -eu
cd "$(dirname "$0")"
mkdir -p "$SHOP_PUBLIC"
for page in site/*.html; do
  target="$SHOP_PUBLIC/$(basename "$page")"
  sed "s/@COMMIT@/$SIGNALBOX_COMMIT/g" "$page" > "$target.new"
  mv "$target.new" "$target"   # visitors see the old page or the new one, never half of one
done
