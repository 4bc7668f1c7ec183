/**
 * What planning may have to know of the repository. Planning is pure: what it meets and does not know yet it throws as `Wanted`, and is begun
 * again when that is there.
 */
export type Want =
  | { kind: 'file'; project: string | null; ref: string | null; path: string }
  | { kind: 'paths'; project: string | null; ref: string | null }
  /** What changed since a ref; null: since what was there before the push. */
  | { kind: 'changed'; since: string | null };

export type Known =
  | { text: string }
  | { paths: readonly string[] }
  /** `no-paths`: nothing to compare with, as for a new branch. */
  | { missing: 'file' | 'project' | 'ref' | 'paths' };

export class Wanted extends Error {
  readonly want: Want;
  constructor(want: Want) {
    super('wanted');
    this.want = want;
  }
}

export class RepositoryView {
  readonly #known = new Map<string, Known>();

  tell(want: Want, known: Known): void {
    this.#known.set(JSON.stringify(want), known);
  }

  ask(want: Want): Known {
    const known = this.#known.get(JSON.stringify(want));
    if (known === undefined) throw new Wanted(want);
    return known;
  }
}
