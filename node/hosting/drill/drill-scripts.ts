/*
 * What runs in the clone's container, by its own sh, as GitLab's users. Of each only a few lines come back. Programs are GitLab's
 * own where its image has them.
 */
const path = 'PATH=/opt/gitlab/embedded/bin:/opt/gitlab/bin:$PATH; export PATH';
const lines = 'head -n 3 | tr "\\n\\t" "; "';

/** As git's user; repositories by standard input, one a line. Answers `bad<TAB>repository<TAB>words`, and `done COUNT` at its end. */
const overRepositories = (check: string): string => `${path}
HOME=/var/opt/gitlab; GIT_OPTIONAL_LOCKS=0; export HOME GIT_OPTIONAL_LOCKS
git=$(ls -d /opt/gitlab/embedded/bin/git /opt/gitlab/embedded/bin/gitaly-git-v* 2>/dev/null | head -n 1)
[ -n "$git" ] || git=git
n=0
while IFS= read -r r; do
  said=$(${check})
  [ -z "$said" ] || printf 'bad\\t%s\\t%s\\n' "$r" "$said"
  n=$((n+1))
done
echo "done $n"
`;

/** Each ref is an object that is there, of one of the four kinds: whatever else git says is wrong. */
export const refsScript = overRepositories(
  `{ "$git" -C "$r" for-each-ref --format='%(objectname)' </dev/null 2>&1 || echo 'its refs cannot be read'; } | "$git" -C "$r" cat-file --batch-check='%(objectname) %(objecttype)' 2>&1 | grep -v -E '^[0-9a-f]{40,64} (commit|tag|tree|blob)$' | ${lines}`,
);

/** Every object read and its checksum compared. What git says of how an object was once written (`error in commit …`) is no damage. */
export const fsckScript = overRepositories(
  `"$git" -C "$r" fsck --full --no-dangling --no-progress </dev/null 2>&1 | grep -v -E '^(error|warning) in (commit|tree|tag|blob) |^(notice|warning|dangling|unreachable|Checking)' | ${lines}`,
);

/**
 * As PostgreSQL's user. pg_dump reads every row and unpacks it, so each page of each table; amcheck, where the image has it, looks
 * whether tables and indexes are what they say. Answers `bad<TAB>what<TAB>words`, and how it looked in a last line.
 */
export const databaseScript = `${path}
h=/var/opt/gitlab/postgresql
ask() { psql -XqAt -v ON_ERROR_STOP=1 -h $h -d "$1" -c "$2" 2>&1; }
all=$(ask postgres "select datname from pg_database where datallowconn and datname <> 'template1'") || { printf 'bad\\tpostgres\\t%s\\n' "$(echo "$all" | ${lines})"; exit 0; }
sums=$(ask postgres 'show data_checksums')
how=; n=0
for d in $all; do
  said=$(pg_dump -h $h -d "$d" -f /dev/null 2>&1) || printf 'bad\\t%s\\t%s\\n' "$d" "$(echo "$said" | ${lines})"
  if ask "$d" 'create extension if not exists amcheck' >/dev/null; then
    how=', and amcheck'
    said=$(ask "$d" "select 'table ' || c.oid::regclass || ': ' || v.msg from pg_class c, lateral verify_heapam(c.oid, on_error_stop => true) v where c.relkind in ('r','m','t') and c.relpersistence = 'p' limit 3") && [ -z "$said" ] || printf 'bad\\t%s\\t%s\\n' "$d" "$(echo "$said" | ${lines})"
    said=$(ask "$d" "select count(bt_index_check(c.oid)) from pg_index i join pg_class c on c.oid = i.indexrelid join pg_am a on a.oid = c.relam where a.amname = 'btree' and i.indisvalid and i.indisready and c.relpersistence = 'p'") || printf 'bad\\t%s\\t%s\\n' "$d" "$(echo "$said" | ${lines})"
  fi
  n=$((n+1))
done
echo "done $n databases read whole$how; checksums of pages are $sums"
`;
