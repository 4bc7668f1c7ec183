import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { sentenceOf } from '../../../protocol/errors.ts';
import type { NodeId } from '../../../protocol/ids.ts';
import type { Ledger } from '../../../protocol/ledger.ts';
import type { Hosting } from '../../../scheduler/hosting/hosted-edits.ts';
import type { Log } from '../../log.ts';
import { copiesAt, copiesFolder, copiesHere, fencedAt, forgetCopiesAt, isStillHosts } from './copies-note.ts';

interface LeftCopiesOptions {
  self: NodeId;
  home: string;
  log: Pick<Log, 'info' | 'warn'>;
  ledger(): Ledger | null;
  removePlace(hosting: Hosting, folder: string): Promise<void>;
  /** Its place is in the hands of who runs it here, or ran it until now. */
  isHosted(data: string): boolean;
}

/** Copies that this machine shall hold no more: deleted on a person's word, and kept where nobody gave one. */
export class LeftCopies {
  readonly #options: LeftCopiesOptions;
  /** Of which a person said that all of it goes; the ledger says no more of them once they are gone. */
  readonly #doomed = new Map<string, Hosting>();
  /** What was said of those that stay. */
  readonly #kept = new Set<string>();

  constructor(options: LeftCopiesOptions) {
    this.#options = options;
  }

  /** A person took it back, or deleted all of that GitLab: then its copies go. Of one that is merely gone a person decides. */
  async clear(known: Hosting | null): Promise<void> {
    const { removePlace, log, self } = this.#options;
    if (known?.ending?.deleteData) this.#doomed.set(known.data, known);
    // Who runs it has no copies to take back: what was said of those of before is not said of these data.
    if (known?.host === self) rmSync(eraNote(this.#options.home, known), { force: true });
    const isTakenBack = known !== null && known.host !== self && this.#wasTakenBack(known, self);
    const going = [...this.#doomed.values()].filter(({ data }) => data !== known?.data);
    for (const hosting of isTakenBack ? [...going, known] : going) {
      if (this.#options.isHosted(hosting.data)) continue;
      const folder = this.#folderOf(hosting);
      if (existsSync(folder)) {
        await removePlace(hosting, folder);
        log.info(`copies of GitLab that were in ${folder} are deleted, as a person said`);
      }
      forgetCopiesAt(this.#options.home, hosting.data);
      this.#doomed.delete(hosting.data);
    }
  }

  /** The mesh has removed this machine: that is no word about its copies, whether or not it is let in again one day. */
  removed(): void {
    const { home, log } = this.#options;
    try {
      for (const data of copiesHere(home)) rmSync(eraNote(home, { data }), { force: true });
    } catch (error) {
      log.warn(`that nobody takes copies of GitLab back here could not be written down: ${sentenceOf(error)}`);
    }
  }

  /**
   * It was agreed on in this era, and is not any more. A ledger that a recovery by force began with may be older than the
   * agreement: what it does not know nobody took back, and these copies may be the only ones left.
   */
  #wasTakenBack(known: Hosting, self: NodeId): boolean {
    const folder = this.#folderOf(known);
    if (known.copies === undefined || !existsSync(folder)) return false;
    const note = eraNote(this.#options.home, known);
    const ledger = this.#options.ledger();
    const era = String(ledger?.era.counter);
    // Who is removed is in no agreement any more. Where its host is gone too, these are the last there are.
    const isRemoved = ledger !== null && !Object.hasOwn(ledger.nodes, self);
    if (isRemoved) this.removed();
    const noted = existsSync(note) ? readFileSync(note, 'utf8') : null;
    const isAgreed = known.copies.agreed.includes(self);
    if (isAgreed && noted !== era) writeFileSync(note, era, { mode: 0o600, flush: true });
    if (isAgreed) return false;
    const fenced = fencedAt(this.#options.home, known.data);
    // Nobody has looked yet whether the mesh goes on with all of what it served: that place was not opened since.
    const isUnseen = isStillHosts(this.#options.home, known.data);
    if (noted === era && fenced.length === 0 && !isUnseen) return true;
    const why =
      fenced.length > 0
        ? `${fenced.join(', ')} in them was served here, and is nowhere else`
        : isRemoved
          ? 'the mesh has removed this machine, which takes no copies back'
          : isUnseen
            ? 'GitLab was served there until another machine took over, and what it took last may be nowhere else'
            : noted === null
              ? 'nobody asked this machine for them, so nobody took them back'
              : 'the mesh was recovered by force and its ledger says nothing of them';
    const said = `copies of GitLab in ${folder} stay: ${why}`;
    if (!this.#kept.has(said)) this.#options.log.warn(said);
    this.#kept.add(said);
    return false;
  }

  #folderOf = ({ data }: Hosting): string => copiesAt(this.#options.home, data).path;
}

const eraNote = (home: string, { data }: Pick<Hosting, 'data'>): string => `${copiesFolder(home, data)}.era`;
