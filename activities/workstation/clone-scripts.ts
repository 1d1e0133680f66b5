// What git does, in a sandbox, to make the clone of a workstation: the same for one that is made at once and for one that
// was made ready before, so that they cannot differ.

/** Where the shelf is, inside. */
export const ORIGIN = '/w/origin';

const FRESH = `
git init --quiet --template= --object-format="$FORMAT" -b "$BRANCH" .
mkdir -p .git/objects/info .git/info
printf '%s\\n' ${ORIGIN}/objects > .git/objects/info/alternates
`;

const ATTRIBUTES = "':(glob)**/.gitattributes'";
const STATUS = 'git status --porcelain=v1 -z --untracked-files=all --no-renames';

/**
 * Gives the clone its commits, and prints what git takes for changed in it. Only attributes can make a file differ right
 * after its checkout; looking for such files means reading all of them again, for they are as young as the index. Where
 * the attributes have changed since WAS, files that have not would be written otherwise now: then this fails.
 */
const COMMITS = `
printf '%s' "$CONFIG" >> .git/config
if [ -n "$PACK" ]; then git index-pack --stdin --fix-thin > /dev/null; fi
if [ -n "$WAS" ] && ! git diff-tree --quiet -r "$WAS" "$START" -- ${ATTRIBUTES} ':(glob)**/.gitmodules'; then
  echo "attributes or submodules are not those of $WAS" >&2
  exit 1
fi
if [ -n "$CHECKOUT" ] && [ "$WAS" != "$START" ]; then git read-tree --reset -u "$START"; fi
git update-ref "refs/remotes/origin/$BRANCH" "$BASE"
git update-ref HEAD "$START"
if [ -n "$CHECKOUT" ]; then
  attributes=$(git ls-files -- ${ATTRIBUTES})
  if [ -n "$WAS$attributes" ]; then exec ${STATUS}; fi
fi
`;

/** A clone in an empty folder. */
export const MAKE = `${FRESH}${COMMITS}`;

/** The same out of one that was made ready at WAS. */
export const COMPLETE = COMMITS;

/**
 * A clone without any ref, checked out at WAS; prints what git takes for changed. A second later the files are older than
 * the index, so that git need not read them again when it looks for changes.
 */
export const MAKE_READY = `${FRESH}git read-tree --reset -u "$WAS"
sleep 1.1
git update-index -q --refresh > /dev/null || true
exec git ls-files -z --modified --others
`;
