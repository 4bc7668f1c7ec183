/** What a GitLab holds, as told by git, PostgreSQL and sha256sum and by no part of the product. */
export interface WholeData {
  /** `REPOSITORY REF` to its commit. */
  refs: ReadonlyMap<string, string>;
  /** `REPOSITORY COMMIT` of all that a ref leads to. */
  commits: ReadonlySet<string>;
  /** `TABLE ID` to the hash of the row; null where the database was not asked. */
  rows: ReadonlyMap<string, string> | null;
  /** Path to the hash of its bytes: files of artifacts and the like, and the secrets file. */
  files: ReadonlyMap<string, string>;
}

/** A shell script whose output `parse` reads; `$1` is the folder with `config` and `data`, `$2` that of the files. */
export const readScript = `set -eu
cd "$1/data/git-data/repositories"
find . -type d -name '*.git' -prune | sort | while read -r repository; do
  git() { command git -c safe.directory='*' -C "$repository" "$@"; }
  git fsck --no-dangling >/dev/null 2>&1 || echo "broken $repository"
  git for-each-ref --format="ref $repository %(refname) %(objectname)"
  git rev-list --all | sed "s|^|commit $repository |"
done
cd "$1/config"
sha256sum gitlab-secrets.json | sed 's/^/file /'
[ -z "$2" ] || { cd "$2"; find . -type f -exec sha256sum {} + | sed 's/^/file /'; }
`;

/**
 * Of what a person would miss, and without what changes by itself: a project's rows go with its refs, which are compared on
 * their own (also why the newest push made no pipeline), and the mesh's token is made anew.
 */
export const rowsSql = `select name || ' ' || id || ' ' || md5((record - 'refs' - 'updatedAt' - 'lastPipelineIid' - 'noPipeline' - 'tokens')::text)
  from records where name in ('user', 'group', 'project')
    or name in ('pipeline', 'job') and record->>'status' in ('success', 'failed', 'canceled', 'skipped') order by 1`;

export function parse(told: string, rows: string | null): WholeData {
  const of = (kind: string): string[][] =>
    told
      .split('\n')
      .filter((line) => line.startsWith(`${kind} `))
      .map((line) => line.split(/ +/).slice(1));
  const [broken] = of('broken');
  if (broken) throw new Error(`git finds the repository ${broken[0]} broken`);
  const map = (lines: string[]): Map<string, string> =>
    new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), line.slice(line.lastIndexOf(' ') + 1)]));
  return {
    refs: map(of('ref').map((words) => words.join(' '))),
    commits: new Set(of('commit').map((words) => words.join(' '))),
    rows: rows === null ? null : map(rows.split('\n').filter(Boolean)),
    files: new Map(of('file').map(([hash = '', ...path]) => [path.join(' '), hash])),
  };
}

export interface Loss {
  refs: string[];
  rows: string[];
  files: string[];
}

/** What was there before and is not there, or is another one, after. A ref may have gone on from where it was. */
export function lossOf(before: WholeData, after: WholeData): Loss {
  const differing = (then: ReadonlyMap<string, string>, now: ReadonlyMap<string, string>): string[] =>
    [...then].filter(([key, value]) => now.get(key) !== value).map(([key]) => key);
  const refs = [...before.refs].filter(
    ([key, commit]) => !after.refs.has(key) || !after.commits.has(`${key.split(' ')[0]} ${commit}`),
  );
  return {
    refs: refs.map(([key]) => key),
    rows: before.rows === null || after.rows === null ? [] : differing(before.rows, after.rows),
    files: differing(before.files, after.files),
  };
}
