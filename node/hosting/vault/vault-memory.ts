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
export type VaultNotes = z.infer<typeof VaultNotes>;

/** When the last backup was, so that the target need not be asked at each start. What makes no sense is asked for again. */
export class VaultMemory {
  readonly #path: string;

  constructor(home: string) {
    this.#path = join(home, 'gitlab-backups.json');
  }

  read(): VaultNotes | null {
    try {
      return VaultNotes.parse(JSON.parse(readFileSync(this.#path, 'utf8')));
    } catch {
      return null;
    }
  }

  write(now: VaultNotes): Promise<void> {
    return replaceFile(this.#path, `${JSON.stringify(now)}\n`, systemTools);
  }
}
