import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { NodeId } from '../../protocol/ids.ts';
import { HostedGitlab } from '../../protocol/ledger-gitlab.ts';
import { RoundName } from '../../protocol/round-name.ts';
import { leftFile, withLeft } from './left-data.ts';
import { replaceFileNow } from './replace-file-now.ts';
import { About } from './vault/vault-tree.ts';

/** Other data are put in the place of GitLab's (vault/data-replacing.ts): how far that is. */
const Replacing = z.looseObject({
  backup: z.string(),
  because: z.string(),
  /** The folder with the data that shall be GitLab's. */
  source: z.string(),
  about: About,
  /** Of what lies in `source`, where that is known: it is said of it again where it goes out of the way. */
  aboutSource: About.optional(),
  /** The one that is over. */
  epoch: z.int().positive(),
  /**
   * `preparing`: `source` is yet to be made, of what GitLab ended with. `trying`: the ledger has the next epoch, and GitLab has
   * yet to come up in it.
   */
  state: z.enum(['preparing', 'swapping', 'trying']),
  how: z.enum(['replace', 'keep']),
  /** What was there before comes back. */
  isBack: z.boolean(),
  /** The gate was opened on them: what came since then is acknowledged, and only a person gives it up. */
  hasServed: z.boolean().optional(),
  /** With which the next epoch begins, and with which `isBack` does; absent where all are of one version. */
  image: z.string().optional(),
  imageBefore: z.string().optional(),
  upgrade: z
    .looseObject({
      /** A boot that takes longer is none, in ms. */
      bootLimitMs: z.number().positive(),
      /** It is the wanted one, and no stop on the way to it. */
      isLast: z.boolean(),
    })
    .optional(),
});
export type Replacing = z.infer<typeof Replacing>;

/** GitLab moves to another machine, or has just come from one (move/gitlab-move.ts): how far that is in that epoch. */
const Moving = z.looseObject({
  epoch: z.int().positive(),
  /** Where to: one that has come here may go on to another one in the same epoch. */
  to: NodeId,
  /** Taken after GitLab had ended. */
  last: RoundName.nullable(),
  /** Why: from then on that epoch ends, and nothing else. */
  givenUp: z.string().nullable(),
  /** The mesh was asked to have it stand here, and may do so at any time from then on. */
  isSaid: z.boolean(),
});
export type Moving = z.infer<typeof Moving>;

const Kept = z.looseObject({
  data: z.string(),
  /** The mesh whose GitLab it is: a machine that was removed from it may be in another one when it looks again. */
  mesh: z.string().nullish(),
  /** As the ledger had it when it was begun: what an agent that starts later has to end. */
  hosting: z.looseObject({ ...HostedGitlab.shape, host: NodeId, epoch: z.int().positive() }).nullable(),
  /** Sealed; until somebody has seen it. */
  rootPassword: z.string().nullable(),
  /** Wall time at which the mesh's token was made; null before. */
  tokenAt: z.number().nullable(),
  /** How long it took to come up last time. */
  bootMs: z.number().nullable(),
  version: z.string().max(64).nullable(),
  /** Its nginx wants to be told who the client is (PROXY protocol), as it answered last; absent before one did. */
  tellsClient: z.boolean().optional(),
  replacing: Replacing.nullable().optional(),
  moving: Moving.nullable().optional(),
  /** A wish to move that is never begun, and why: that was said to a person, or to the mesh, which may hear of it late. */
  vain: z.looseObject({ wish: z.string(), because: z.string() }).optional(),
  /** Its data were made of another machine's round, and its gate has let nobody in yet. */
  isUnserved: z.boolean().optional(),
  /** The file was damaged once: GitLab may have worked here, also where nothing else says so. */
  isUnsure: z.boolean().optional(),
});
type Kept = z.infer<typeof Kept>;

const unknown = { hosting: null, rootPassword: null, tokenAt: null, bootMs: null, version: null };

/**
 * What this machine knows of the GitLab that it hosts and the mesh need not: a file (0600) of its home, and a copy beside it,
 * as nobody else knows it. Where both are damaged it is not taken for a machine that never hosted.
 */
export class HostingMemory {
  readonly #home: string;
  readonly #path: string;
  readonly #log: { warn(sentence: string): void };
  /** As it stands in the file, which nobody else writes: looked at at every turn of a keeper. Undefined: not read yet. */
  #known: Kept | null | undefined;
  /** Of no data, as that could not be read; the file stays for a person until it is written over. */
  #isDamaged = false;

  constructor(home: string, log: { warn(sentence: string): void }) {
    this.#home = home;
    this.#path = join(home, 'hosted-gitlab.json');
    this.#log = log;
  }

  get #both(): string[] {
    return [this.#path, `${this.#path}.copy`];
  }

  /** A GitLab was begun here, and its end was not seen. */
  get isThere(): boolean {
    return this.#both.some((path) => existsSync(path));
  }

  /** Of other data: nothing is known. */
  read(data: string): Kept {
    const kept = this.#kept;
    return kept?.data === data ? kept : { data, ...unknown, ...(this.#isDamaged && { isUnsure: true }) };
  }

  /** It is known, for sure, that it never worked here: only then may its data place be made. */
  hasNeverWorked(data: string): boolean {
    const { bootMs, isUnsure = false } = this.read(data);
    return bootMs === null && !isUnsure;
  }

  /** Something of it may be open here, or run: what was hosted last, and where that cannot be read any of it. */
  mayHold(data: string): boolean {
    const hosting = this.hosting();
    return hosting === null ? this.#isDamaged : hosting.data === data;
  }

  /** Forgotten once it is what somebody says that he has `seen`. */
  rootPassword(data: string, unseal: (sealed: string) => string, seen?: string): string | null {
    const { rootPassword: sealed } = this.read(data);
    const password = sealed === null ? null : unseal(sealed);
    if (password === null || password !== seen) return password;
    this.write(data, { rootPassword: null });
    return null;
  }

  /** What was hosted here last, as far as this home knows. */
  hosting(): Kept['hosting'] {
    return this.#kept?.hosting ?? null;
  }

  /** Of which mesh; null where an earlier version wrote it. */
  mesh(): string | null {
    return this.#kept?.mesh ?? null;
  }

  /** Null where there is none, or neither makes sense. */
  get #kept(): Kept | null {
    if (this.#known === undefined) this.#known = this.#readBoth();
    return this.#known;
  }

  #readBoth(): Kept | null {
    const damaged: string[] = [];
    for (const path of this.#both) {
      const kept = keptIn(path);
      if (kept === 'damaged') damaged.push(path);
      else if (kept !== null) {
        if (damaged.length > 0)
          this.#log.warn(`${damaged[0]} is damaged: its copy is taken, which may be a little older`);
        return kept;
      }
    }
    this.#isDamaged = damaged.length > 0;
    if (this.#isDamaged)
      this.#log.warn(
        `${damaged.join(' and ')} cannot be read: whether GitLab has worked here, and root's first password, are not known any more; no data place is made anew`,
      );
    return null;
  }

  /** On the disk when it returns, the copy first: one of the two is whole at any moment. */
  write(data: string, more: Partial<Kept>): void {
    const kept = { ...this.read(data), ...more };
    for (const path of this.#both.reverse()) replaceFileNow(path, `${JSON.stringify(kept)}\n`);
    this.#known = kept;
  }

  /** `stays`: the folder of its data, where nobody said that they go: somebody has to find them again. */
  forget(stays: string | null = null): void {
    if (stays !== null) replaceFileNow(leftFile(this.#home), withLeft(this.#home, stays));
    for (const path of this.#both) rmSync(path, { force: true });
    this.#known = null;
    this.#isDamaged = false;
  }
}

/** Null where there is no such file. What of it a later version has written in another way is not known, and the rest is. */
function keptIn(path: string): Kept | null | 'damaged' {
  try {
    const raw = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
    const whole = Kept.safeParse(raw);
    if (whole.success) return whole.data;
    const fields = Object.entries(Kept.shape).filter(([name, field]) => field.safeParse(raw[name]).success);
    const known = Object.fromEntries(fields.map(([name]) => [name, raw[name]]));
    return Kept.parse({ ...unknown, ...known, isUnsure: true });
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? null : 'damaged';
  }
}
