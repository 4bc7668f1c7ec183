import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import type { NodeId } from '../../../protocol/ids.ts';
import type { Ledger } from '../../../protocol/ledger.ts';
import type { Hosting } from '../../../scheduler/hosting/hosted-edits.ts';
import type { Log } from '../../log.ts';
import { copiesFolder } from './copies-place.ts';

interface LeftCopiesOptions {
  self: NodeId;
  home: string;
  log: Pick<Log, 'info' | 'warn'>;
  ledger(): Ledger | null;
  removePlace(hosting: Hosting, folder: string): Promise<void>;
}

/** Copies that this machine shall hold no more: deleted on a person's word, and kept where nobody gave one. */
export class LeftCopies {
  readonly #options: LeftCopiesOptions;
  /** Of which a person said that all of it goes; the ledger says no more of them once they are gone. */
  readonly #doomed = new Map<string, Hosting>();
  /** Of which it was said that they stay. */
  readonly #kept = new Set<string>();

  constructor(options: LeftCopiesOptions) {
    this.#options = options;
  }

  /** A person took it back, or deleted all of that GitLab: then its copies go. Of one that is merely gone a person decides. */
  async clear(known: Hosting | null): Promise<void> {
    const { removePlace, log, self } = this.#options;
    if (known?.ending?.deleteData) this.#doomed.set(known.data, known);
    const isTakenBack = known !== null && known.host !== self && this.#wasTakenBack(known, self);
    const going = [...this.#doomed.values()].filter(({ data }) => data !== known?.data);
    for (const hosting of isTakenBack ? [...going, known] : going) {
      const folder = this.#folderOf(hosting);
      if (existsSync(folder)) {
        await removePlace(hosting, folder);
        log.info(`copies of GitLab that were in ${folder} are deleted, as a person said`);
      }
      this.#doomed.delete(hosting.data);
    }
  }

  /**
   * It was agreed on in this era, and is not any more. A ledger that a recovery by force began with may be older than the
   * agreement: what it does not know nobody took back, and these copies may be the only ones left.
   */
  #wasTakenBack(known: Hosting, self: NodeId): boolean {
    const folder = this.#folderOf(known);
    if (known.copies === undefined || !existsSync(folder)) return false;
    const note = `${folder}.era`;
    const era = String(this.#options.ledger()?.era.counter);
    const noted = existsSync(note) ? readFileSync(note, 'utf8') : null;
    const isAgreed = known.copies.agreed.includes(self);
    if (isAgreed && noted !== era) writeFileSync(note, era, { mode: 0o600, flush: true });
    if (isAgreed || noted === era) return !isAgreed;
    if (!this.#kept.has(folder))
      this.#options.log.warn(
        `copies of GitLab in ${folder} stay: the mesh was recovered by force and its ledger says nothing of them`,
      );
    this.#kept.add(folder);
    return false;
  }

  #folderOf = ({ data }: Hosting): string => copiesFolder(this.#options.home, data);
}
