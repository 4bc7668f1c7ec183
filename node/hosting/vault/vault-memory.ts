import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { replaceFile, systemTools } from '../system-tools.ts';

/** What the ledger has of it sealed, as text. */
export const VaultSecret = z.object({ password: z.string(), credentials: z.record(z.string(), z.string()) });

const VaultNotes = z.looseObject({
  /** Of which all this is. */
  repository: z.string(),
  data: z.string(),
  last: z.object({ id: z.string(), at: z.number() }).nullable(),
  checkedAt: z.number().nullable(),
});
type VaultNotes = z.infer<typeof VaultNotes>;

const dayMs = 86_400_000;
/** One that seems to be made later than that from now was made by a clock that was wrong. */
const aheadMs = 3_600_000;

/** Of which data in which repository. */
interface Whose {
  repository: string;
  data: string;
}

/** When the last backup was, so that the target need not be asked at each start. What makes no sense is asked for again. */
export class VaultMemory {
  readonly #path: string;
  #known: VaultNotes | null;

  constructor(home: string, name = 'gitlab-backups.json') {
    this.#path = join(home, name);
    this.#known = this.#read();
  }

  of({ repository, data }: Whose): VaultNotes | null {
    const known = this.#known;
    return known?.repository === repository && known.data === data ? known : null;
  }

  async remember({ repository, data }: Whose, more: Partial<VaultNotes>): Promise<void> {
    const before = this.of({ repository, data }) ?? { repository, data, last: null, checkedAt: null };
    this.#known = { ...before, ...more };
    await replaceFile(this.#path, `${JSON.stringify(this.#known)}\n`, systemTools);
  }

  isDue(whose: Whose, everyMs: number, wallMs: number): boolean {
    const last = this.of(whose)?.last;
    if (!last) return true;
    const passedMs = wallMs - last.at;
    return passedMs >= everyMs || passedMs < -aheadMs;
  }

  /** A part of the repository is read back each day. */
  isCheckDue(whose: Whose, wallMs: number): boolean {
    const { checkedAt = null } = this.of(whose) ?? {};
    return checkedAt === null || Math.abs(wallMs - checkedAt) >= dayMs * 0.9;
  }

  #read(): VaultNotes | null {
    try {
      return VaultNotes.parse(JSON.parse(readFileSync(this.#path, 'utf8')));
    } catch {
      return null;
    }
  }
}
