/** Full name of a ref -> object id, of one repository. */
export type RefMap = ReadonlyMap<string, string>;

export interface RefChange {
  ref: string;
  /** Null where it is not there on that side. */
  then: string | null;
  now: string | null;
}

const objectId = /^([0-9a-f]{40}|[0-9a-f]{64})$/;
export const isObjectId = (text: string): boolean => objectId.test(text);

/** git's own file of refs; lines of another form (a header, peeled tags) are none. */
export function packedRefs(text: string): Map<string, string> {
  const refs = new Map<string, string>();
  for (const line of text.split('\n')) {
    const space = line.indexOf(' ');
    const [id, name] = [line.slice(0, space), line.slice(space + 1)];
    if (isObjectId(id) && name.startsWith('refs/')) refs.set(name, id);
  }
  return refs;
}

/** What people push; GitLab keeps others beside them (merge requests, pipelines), which come and go by themselves. */
export const isPushed = (ref: string): boolean => /^refs\/(heads|tags)\//.test(ref);

/** What people pushed that is not the same on both sides, by name; `others`: how many of GitLab's own refs differ. */
export function refChanges(then: RefMap, now: RefMap): { changes: RefChange[]; others: number } {
  const names = [...new Set([...then.keys(), ...now.keys()])].filter((ref) => then.get(ref) !== now.get(ref)).sort();
  const pushed = names.filter(isPushed);
  return {
    changes: pushed.map((ref) => ({ ref, then: then.get(ref) ?? null, now: now.get(ref) ?? null })),
    others: names.length - pushed.length,
  };
}
