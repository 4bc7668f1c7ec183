import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { NodeId } from '../../protocol/ids.ts';
import { HostedGitlab } from '../../protocol/ledger.ts';
import { About } from './vault/vault-tree.ts';

/** Other data are put in the place of GitLab's (vault/data-replacing.ts): how far that is. */
const Replacing = z.looseObject({
  backup: z.string(),
  because: z.string(),
  /** The folder with the data that shall be GitLab's. */
  source: z.string(),
  about: About,
  /** The one that is over. */
  epoch: z.int().positive(),
  /** `trying`: the ledger has the next epoch, and GitLab has yet to come up in it. */
  state: z.enum(['swapping', 'trying']),
  how: z.enum(['replace', 'keep']),
  /** What was there before comes back. */
  isBack: z.boolean(),
});
export type Replacing = z.infer<typeof Replacing>;

const Kept = z.looseObject({
  data: z.string(),
  /** As the ledger had it when it was begun: what an agent that starts later has to end. */
  hosting: z.looseObject({ ...HostedGitlab.shape, host: NodeId, epoch: z.int().positive() }).nullable(),
  /** Sealed; until somebody has seen it. */
  rootPassword: z.string().nullable(),
  /** Wall time at which the mesh's token was made; null before. */
  tokenAt: z.number().nullable(),
  /** How long it took to come up last time. */
  bootMs: z.number().nullable(),
  version: z.string().max(64).nullable(),
  replacing: Replacing.nullable().optional(),
});
type Kept = z.infer<typeof Kept>;

/** What this machine knows of the GitLab that it hosts and the mesh need not: a file (0600) of its home. */
export class HostingMemory {
  readonly #path: string;
  /** As it stands in the file, which nobody else writes: looked at at every turn of a keeper. Undefined: not read yet. */
  #known: Kept | null | undefined;

  constructor(home: string) {
    this.#path = join(home, 'hosted-gitlab.json');
  }

  /** A GitLab was begun here, and its end was not seen. */
  get isThere(): boolean {
    return existsSync(this.#path);
  }

  /** Of other data: nothing is known. */
  read(data: string): Kept {
    return this.#kept?.data === data
      ? this.#kept
      : { data, hosting: null, rootPassword: null, tokenAt: null, bootMs: null, version: null };
  }

  /** What was hosted here last, as far as this home knows. */
  hosting(): Kept['hosting'] {
    return this.#kept?.hosting ?? null;
  }

  /** Null where there is none, or what is there makes no sense. */
  get #kept(): Kept | null {
    if (this.#known === undefined)
      try {
        this.#known = Kept.parse(JSON.parse(readFileSync(this.#path, 'utf8')));
      } catch {
        this.#known = null;
      }
    return this.#known;
  }

  /** On the disk when it returns. */
  write(data: string, more: Partial<Kept>): void {
    const kept = { ...this.read(data), ...more };
    const file = openSync(`${this.#path}.new`, 'w', 0o600);
    try {
      writeSync(file, `${JSON.stringify(kept)}\n`);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(`${this.#path}.new`, this.#path);
    this.#known = kept;
  }

  forget(): void {
    rmSync(this.#path, { force: true });
    this.#known = null;
  }
}
