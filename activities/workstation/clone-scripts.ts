// What git does, in a sandbox, to make the clone of a workstation: at once, out of one that was made ready before, or out of
// the one that the task's last attempt left. They differ in nothing that git knows of.

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

const FOLDERS = 'git ls-tree -r -d -z --name-only "$START"';
const RULES = '.gitattributes .gitignore .gitmodules';

/**
 * Goes on in the clone of an attempt that is over, whose agent may have made anything of it. Of that stays what START's own
 * rules ignore, and files of START whose contents are right; the repository is made anew. Prints what git takes for
 * changed, which is nothing; fails where anything is odd.
 *
 * The rules come first: an attribute or a rule that the agent left would decide what counts as changed or ignored. Then goes
 * what they do not ignore, judged by its topmost folder, whose own rules are the agent's. Then repositories, pipes and
 * sockets, wherever they are, and files of START with another name or mode. A file that is left is compared by its contents,
 * for the index is new.
 */
export const GO_ON = `
rm -rf .git
${FRESH}
printf '%s' "$CONFIG" >> .git/config
if [ -n "$PACK" ]; then git index-pack --stdin --fix-thin > /dev/null; fi
git read-tree "$START"
if git ls-files --stage | grep -q '^160000 '; then echo 'it has submodules' >&2; exit 1; fi
for rules in ${RULES}; do
  { printf '.\\0'; ${FOLDERS}; } | xargs -0 printf "%s/$rules\\\\0" | xargs -0 rm -rf --
done
for rules in ${RULES}; do
  git ls-files -z -- ":(glob)**/$rules" | git checkout-index -f -z --stdin
done
git ls-files -z --others --directory | sed -z 's|/$||' | sort -z > /tmp/others
git check-ignore -z --stdin < /tmp/others > /tmp/unsorted || [ $? = 1 ]
sort -z /tmp/unsorted > /tmp/ignored
comm -z -23 /tmp/others /tmp/ignored | xargs -0 -r rm -rf --
find . -path ./.git -prune -o \\( -name .git -o ! -type f ! -type d ! -type l \\) -prune -exec rm -rf {} +
: > /tmp/file; plain=$(stat -c %a /tmp/file); chmod +x /tmp/file; runs=$(stat -c %a /tmp/file)
mkdir /tmp/folder; folder=$(stat -c %a /tmp/folder)
git ls-files -z | sed -z 's|^|./|' | PLAIN=$plain RUNS=$runs xargs -0 -r sh -c \
  'find "$@" -maxdepth 0 -type f \\( -links +1 -o ! -perm "$PLAIN" ! -perm "$RUNS" \\) -delete 2> /dev/null || true' sh
git update-index -q --refresh > /dev/null || true
git read-tree --reset -u "$START"
${FOLDERS} | xargs -0 -r chmod -- "00$folder"
git update-ref "refs/remotes/origin/$BRANCH" "$BASE"
git update-ref HEAD "$START"
exec ${STATUS}
`;
