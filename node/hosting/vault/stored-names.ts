import { createHash } from 'node:crypto';

/** One that GitLab tells of. */
export interface NamedProject {
  id: number;
  /** With its namespace. */
  path: string;
}

/** Where GitLab stores a project's repository: by the SHA-256 of its id (docs.gitlab.com, Repository storage). */
export function storedPath(id: number): string {
  const hash = createHash('sha256').update(String(id)).digest('hex');
  return `@hashed/${hash.slice(0, 2)}/${hash.slice(2, 4)}/${hash}.git`;
}

/** Ids are given one after the other: those of projects that are gone lie among the others', or not far above. */
const idsAbove = 2_000;
const idsMost = 200_000;

/** How a stored repository is called for people, from what GitLab knows of now: also one of a project that is gone. Null: it could not be asked. */
export function storedNames(projects: readonly NamedProject[] | null): (stored: string) => string {
  if (projects === null) return (stored) => stored;
  const names = new Map<string, string>();
  const known = new Map(projects.map(({ id, path }) => [id, path]));
  const most = Math.min(idsMost, Math.max(0, ...known.keys()) + idsAbove);
  for (let id = 1; id <= most; id++) names.set(storedPath(id), known.get(id) ?? `project ${id}, which is gone`);
  for (const [id, path] of known) if (id > most) names.set(storedPath(id), path);
  return (stored) => {
    const own = names.get(stored);
    if (own !== undefined) return own;
    const [, base, kind] = /^(.*)\.(wiki|design)\.git$/.exec(stored) ?? [];
    const name = base === undefined ? undefined : names.get(`${base}.git`);
    return name === undefined ? stored : `${name} (${kind === 'wiki' ? 'wiki' : 'designs'})`;
  };
}
