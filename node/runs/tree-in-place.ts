import { pipeline } from 'node:stream/promises';
import type { KeptTree } from '../ports.ts';
import { plain, SourcesFailure, serveMirror, treeEnvironment } from './git-command.ts';
import { objectFormat, treeRefspecs } from './git-mirror.ts';
import { remoteConfig, tagFlags } from './git-tree.ts';
import type { SourcesSpec } from './sources-spec.ts';

/** Of a git that stands still, on a disk that hangs or in a tree that was made for it. */
const mostTreeMs = 20 * 60_000;
/** `git clean` does not know what it was told. */
const badFlags = 93;

/**
 * Brings a tree that jobs had before to a commit, in its place and as its user. Of its `.git` only objects, refs, index,
 * HEAD and where history ends are kept, and of these none that is a link: settings, hooks, attributes, alternates, locks
 * and what an operation has left half done are gone before any git looks at it. Its refs become those of a new tree; what
 * it had says only what it need not get again. A named pipe anywhere would hold git up for ever. The other end of the fetch is this script's input and output.
 * $1: settings, $2: format of a new one, $3: commit; empty: its files stay as they are. $4: depth, $5: flags of
 * `git clean`, of which no word has a blank; empty: nothing is removed. Then the words of the fetch.
 */
const script = `set -e
umask 022
exec 3<&0 4>&1 </dev/null >&2
config=$1 format=$2 sha=$3 depth=$4 clean=$5
shift 5
find . -type p -exec rm -f -- {} + || :
if [ -L .git ] || ! [ -d .git ]; then rm -rf .git; fi
if [ -d .git ]; then
  for path in .git/* .git/.[!.]* .git/..?*; do
    case $path in
      .git/objects | .git/refs | .git/packed-refs | .git/shallow | .git/index | .git/HEAD) [ ! -L "$path" ] || rm -f -- "$path" ;;
      *) rm -rf -- "$path" ;;
    esac
  done
  rm -rf .git/objects/info
  for path in .git/objects .git/refs; do [ ! -d "$path" ] || find "$path" -type l -exec rm -f -- {} +; done
fi
head= haves=
if [ -d .git/objects ] && [ -d .git/refs ] && [ -f .git/HEAD ]; then
  find .git/refs -name '*.lock' -exec rm -rf {} +
  find .git/objects -name 'tmp_*' -exec rm -rf {} +
  printf %s "$config" >.git/config
  head=$(git rev-parse --quiet --verify 'HEAD^{commit}' || :)
  haves=$(git for-each-ref --count=5000 '--format=%(objectname)')
else
  rm -rf .git
  git init --quiet --template= "$format" .
  printf %s "$config" >.git/config
fi
rm -rf .git/refs .git/packed-refs
mkdir -p .git/refs/heads .git/refs/tags
echo ref: refs/heads/autogit-none >.git/HEAD
n=0
for have in $head $haves; do n=$((n + 1)); echo "$have refs/autogit/have/$n"; done >.git/packed-refs
if [ "$depth" -gt 0 ]; then how=--depth=$depth
elif [ -s .git/shallow ]; then how=--unshallow
else how=--quiet; fi
# All of it as one pack (takeFrom in git-tree.ts says why), what is new in few objects as they are.
few=100
[ -n "$head" ] || few=1
git -c fetch.unpackLimit=$few fetch --quiet --force --no-write-fetch-head "$how" --upload-pack="sh -c 'cat <&3 4>&- 2>/dev/null & exec cat >&4 3<&-'" "$@"
exec 3<&- 4>&-
rm -f .git/packed-refs
if [ -n "$sha" ]; then
  git -c advice.detachedHead=false checkout --quiet --force --detach "$sha"
  set -f
  if [ -n "$clean" ]; then
    git clean $clean || case $? in 129) exit ${badFlags} ;; *) exit 1 ;; esac
  fi
  set +f
else
  if [ -n "$head" ]; then echo "$head"; else echo ref: refs/heads/master; fi >.git/HEAD
fi
if [ -e .gitmodules ]; then
  git ls-files --stage | while read -r mode _ _ path; do
    case $mode:$path in
      160000:\\"*) exit 1 ;;
      160000:*) rm -rf -- "$path"; mkdir -p -- "$path" ;;
    esac
  done
fi
git -c gc.auto=2000 -c gc.autoPackLimit=30 -c gc.bigPackThreshold=32m -c gc.autoDetach=false gc --auto --quiet || :
`;

/** The settings of a tree, all of them: nothing of what a job wrote there stays. */
export const treeConfig = (sha: string, address: string): string => {
  const isLong = sha.length === 64;
  const core = ['[core]', `\trepositoryformatversion = ${isLong ? 1 : 0}`, '\tfilemode = true', '\tbare = false'];
  const format = isLong ? ['[extensions]', '\tobjectformat = sha256'] : [];
  return [...core, '\tlogallrefupdates = true', ...format, remoteConfig(address, true)].join('\n');
};

interface InPlace {
  mirror: string;
  address: string;
  spec: SourcesSpec;
  /** Null: what git does not track stays. */
  cleanFlags: readonly string[] | null;
}

const tookTooLong = (limitMs: number): SourcesFailure =>
  new SourcesFailure(`git took longer than ${Math.round(limitMs / 1000)} s in it`, false);

/**
 * What `git clean` said. The tree's git begins at once and waits for its other end until `mirrored`, whose error is thrown as it is.
 * Throws SourcesFailure where the tree cannot be brought there: a new one can.
 */
export async function updateInPlace(
  tree: KeptTree,
  how: InPlace,
  signal: AbortSignal,
  mirrored: Promise<unknown> = Promise.resolve(),
): Promise<string[]> {
  const { mirror, address, spec, cleanFlags } = how;
  const { sha, depth, tags = 'follow', treeLimitMs = mostTreeMs } = spec;
  const checkedOut = spec.isCheckedOut === false ? '' : sha;
  const clean = tree.isLeft ? (cleanFlags ?? []).join(' ') : '';
  const words = [...tagFlags[tags], 'file:///mirror', sha, ...treeRefspecs(spec)];
  const args = [treeConfig(sha, address), objectFormat(sha), checkedOut, String(depth), clean, ...words];
  const stop = new AbortController();
  const running = tree.run(script, args, treeEnvironment(), AbortSignal.any([signal, stop.signal]));
  let isLate = false;
  let timer: NodeJS.Timeout | undefined;
  let server: ReturnType<typeof serveMirror> | null = null;
  try {
    const [{ input, output, ended }] = await Promise.all([running, mirrored]);
    timer = setTimeout(() => {
      isLate = true;
      stop.abort();
    }, treeLimitMs);
    server = serveMirror(mirror);
    const gone = new Promise<void>((resolve) => {
      server?.once('error', () => resolve());
      server?.once('close', () => resolve());
    });
    // Each end may close first: how it went is said by the script's own end.
    const there = server.stdout && pipeline(server.stdout, input).catch(() => undefined);
    const back = server.stdin && pipeline(output, server.stdin).catch(() => undefined);
    const { code, said } = await ended;
    server.kill('SIGKILL');
    await Promise.all([there, back, gone]);
    signal.throwIfAborted();
    const lines = said.split(/[\r\n]+/).flatMap((line) => (line.trim() === '' ? [] : [plain(line)]));
    if (code === badFlags)
      throw new BadCleanFlags(`GIT_CLEAN_FLAGS are none that git clean knows: ${lines[0] ?? ''}`, false);
    if (code !== 0 && isLate) throw tookTooLong(treeLimitMs);
    if (code !== 0) throw new SourcesFailure(lines.slice(-3).join('; ') || `exit ${code}`, false);
    return lines;
  } catch (error) {
    if (error instanceof SourcesFailure || signal.aborted || !isLate) throw error;
    throw tookTooLong(treeLimitMs);
  } finally {
    clearTimeout(timer);
    server?.kill('SIGKILL');
    stop.abort();
    // Where its other end never came: nothing works in the tree any more when this is over.
    await running.then(({ ended }) => ended).catch(() => undefined);
  }
}

/** The job's own fault: a new tree would not help. */
export class BadCleanFlags extends SourcesFailure {}
