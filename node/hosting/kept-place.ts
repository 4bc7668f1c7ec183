import { join } from 'node:path';
import { sentenceOf } from '../../protocol/errors.ts';
import { roundText } from '../../protocol/round-name.ts';
import type { Hosting } from '../../scheduler/hosting/hosted-edits.ts';
import type { DataPlace } from './data-place.ts';
import type { KeeperOptions } from './gitlab-keeper-options.ts';
import type { HostingMemory } from './hosting-memory.ts';
import { areOf, makeOfBase } from './move/living-data.ts';
import { wantedBase } from './move/move-steps.ts';
import { treeOf } from './place-tree.ts';
import { noteCopiesAt } from './replica/copies-note.ts';
import { bridgeOf } from './service-container.ts';
import { versionIn } from './vault/kept-rounds.ts';

interface Keeping {
  hosting: Hosting;
  mesh: string;
  options: KeeperOptions;
  memory: HostingMemory;
  /** The ledger has no address of it yet. */
  isNew(): boolean;
  say(phase: string): void;
}

/** The data place of the one GitLab that this machine hosts, open from the first need until it is given back. */
export class KeptPlace {
  readonly #keeping: Keeping;
  #open: DataPlace | null = null;
  /** Whoever asks meanwhile gets the same. */
  #opening: Promise<DataPlace> | null = null;
  #making: Promise<void> | null = null;
  #isPrepared = false;
  /** Copies of it may be made. */
  #isCopied = false;

  constructor(keeping: Keeping) {
    this.#keeping = keeping;
  }

  get now(): DataPlace | null {
    return this.#open;
  }

  /** This epoch began with another machine's data, and GitLab has yet to work with them on this one. */
  get isFirstHere(): boolean {
    const { hosting, memory } = this.#keeping;
    return wantedBase(hosting, null) !== null && memory.hasNeverWorked(hosting.data);
  }

  /**
   * Made only while there was none: what has worked here once is never made anew over a disk that is not there. Where this epoch began
   * with a round of another machine's its data are made of that, never empty.
   */
  async opened(mayCreate: boolean): Promise<DataPlace> {
    const { hosting, mesh, options, memory, isNew } = this.#keeping;
    if (mayCreate && this.isFirstHere) await this.#madeOfBase();
    const mayMake = mayCreate && isNew() && !this.isFirstHere && memory.hasNeverWorked(hosting.data);
    const isOpen = this.#open !== null;
    const place = await this.#once(() => options.openPlace(hosting, mayMake, mesh));
    if (!isOpen) for (const notice of place.notices) options.log.warn(notice);
    if (!this.#isCopied) options.copies?.opened(hosting, place);
    this.#isCopied = true;
    return place;
  }

  /** Whatever state its data are in: they are replaced, or were half replaced by an agent that ended. */
  async asItIs(): Promise<DataPlace> {
    const { hosting, mesh, options } = this.#keeping;
    return this.#once(() => options.openPlace(hosting, false, mesh, true));
  }

  async #once(open: () => Promise<DataPlace>): Promise<DataPlace> {
    if (this.#open !== null) return this.#open;
    this.#opening ??= open().finally(() => {
      this.#opening = null;
    });
    const place = await this.#opening;
    this.#open = place;
    return place;
  }

  /**
   * The ledger has GitLab go on here: its data and its network are made while guard, gate and watchdog are brought to stand. Once; what
   * fails the start says, and tries it again at its own times.
   */
  prepare(): void {
    if (this.#isPrepared || !this.isFirstHere) return;
    this.#isPrepared = true;
    void this.#madeOfBase().catch(() => undefined);
    const { hosting, mesh, options } = this.#keeping;
    const network = { mesh, data: hosting.data, bridge: bridgeOf(hosting.data) };
    void options.host.makeNetwork(network).catch(() => undefined);
  }

  #madeOfBase(): Promise<void> {
    this.#making ??= this.#makeOfBase().finally(() => {
      this.#making = null;
    });
    return this.#making;
  }

  async #makeOfBase(): Promise<void> {
    const { hosting, mesh, options, memory, say } = this.#keeping;
    const { data, epoch } = hosting;
    const place = await this.asItIs();
    const owner = { mesh, data, epoch };
    const base = wantedBase(hosting, areOf(place, owner) ? epoch : null);
    if (base !== null) {
      const { log, tools } = options;
      say(`makes its data of round ${roundText(base)}`);
      for (const note of [...place.notices, ...(await place.tend())]) log.warn(note);
      const make = (ready: string | null): Promise<string[]> => makeOfBase({ place, owner, base, ready }, tools);
      const ready = options.beside?.ready(hosting)?.folder ?? null;
      const notes = await make(ready).catch(async (error: unknown) => {
        if (ready === null) throw error;
        // Half of it may have been taken, as on a full disk: it would be asked for in vain until its agent ends.
        log.warn(`what was booted beforehand is not taken in: ${sentenceOf(error)}`);
        await options.beside?.none(hosting);
        return make(null);
      });
      for (const note of notes) log.warn(note);
      memory.write(data, { isUnserved: true });
      log.info(`GitLab's data of epoch ${epoch} are made of round ${roundText(base)}, in ${place.path}`);
    }
    await place.check();
    memory.write(data, { version: versionIn(join(treeOf(place), 'live')) });
  }

  /** No round is taken of data that are about to change places. */
  async endCopies(): Promise<void> {
    await this.#keeping.options.copies?.ends();
  }

  async letGo(): Promise<void> {
    await this.#making?.catch(() => undefined);
    await this.endCopies();
    await this.#open?.letGo();
  }

  /** Also one that an agent of before had opened. Where it lies is noted, as another machine's copies may lie there next. */
  async close(): Promise<void> {
    const { hosting, options, memory } = this.#keeping;
    await this.#making?.catch(() => undefined);
    const place = await this.asItIs().catch((error: unknown) => {
      options.log.warn(
        `${hosting.place.path} cannot be opened, so what is mounted of it stays mounted: ${sentenceOf(error)}`,
      );
      return null;
    });
    await this.endCopies();
    this.#isCopied = false;
    // One that never came up with them says nothing of them.
    await place?.close(memory.read(hosting.data).version === null ? undefined : hosting.image);
    this.#open = null;
    const { data, epoch, place: at } = hosting;
    const unserved = memory.read(data).isUnserved === true ? epoch : null;
    if (at.kind !== 'folder') noteCopiesAt(options.home, data, at.path, unserved);
  }
}
