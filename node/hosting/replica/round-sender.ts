import { type Readable, Transform } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { sentenceOf } from '../../../protocol/errors.ts';
import { newestOf, type RoundName, roundText } from '../../../protocol/round-name.ts';
import type { AwayState } from '../../../scheduler/hosting/copies/standby-record.ts';
import type { Replica, Round, RoundSource, Standby } from './replica-ports.ts';
import { RoundRefused, standbyIsFull } from './replica-problem.ts';
import type { SendBook } from './send-books.ts';

interface RoundSenderOptions {
  standby: Standby;
  replica: Replica;
  book: SendBook;
  epoch: Pick<RoundName, 'era' | 'epoch'>;
  /** A push waits for the newest round. */
  isPressed(): boolean;
  /** Something is known now that was not: the rules are asked. */
  onChange(): void;
  onProblem(words: string): void;
}

const timings = {
  /** Nothing of a round moves for so long: its sender is ended, or its snapshot could never be deleted. */
  stallMs: 120_000,
  /** A standby that tells of its progress, each half second while it lives, has told nothing for so long. */
  silentMs: 15_000,
  /** It tells that it lives, and no byte more has arrived for so long: its disk hangs. A slow one writes what its memory holds meanwhile. */
  diskMs: 900_000,
  bookMs: 100,
  againMs: 500,
  againMostMs: 5000,
} as const;

/** Brings one part's newest round to one standby, again and again; what it misses meanwhile it never gets. */
export class RoundSender {
  readonly #options: RoundSenderOptions;
  readonly #stopped = new AbortController();
  #wake = new AbortController();
  #isKnown = false;
  #source: RoundSource | null = null;
  #running: Promise<void> = Promise.resolve();
  /** Of a whole copy that is under way. */
  progressBytes: number | null = null;

  constructor(options: RoundSenderOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running = this.#loop();
  }

  /** There is a newer round. */
  wake(): void {
    this.#wake.abort();
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    this.#source?.end();
    this.#wake.abort();
    await this.#running;
  }

  async #loop(): Promise<void> {
    const { book, replica, onChange, onProblem } = this.#options;
    let failures = 0;
    let sent: Round | null = null;
    while (!this.#stopped.signal.aborted) {
      this.#wake = new AbortController();
      const newest = this.#newest();
      try {
        if (!this.#isKnown || (newest && newest !== sent)) {
          await this.#exchange(newest);
          sent = newest;
          failures = 0;
          this.#isKnown = true;
          onChange();
          continue;
        }
      } catch (error) {
        if (this.#stopped.signal.aborted) return;
        this.#isKnown = false;
        failures += 1;
        const because = sentenceOf(error);
        book.lost(because, stateOf(error));
        if (failures === 1) onProblem(`no ${replica.part} round gets there: ${because}`);
        onChange();
      }
      const ms = failures === 0 ? 2 ** 30 : Math.min(timings.againMostMs, timings.againMs * failures);
      // A newer round ends the pause: a push may wait for it.
      await sleep(ms, undefined, { signal: this.#wake.signal, ref: false }).catch(() => {});
    }
  }

  #newest(): Round | null {
    const { replica, epoch } = this.#options;
    return newestOf(replica.rounds().filter(({ name }) => name.era === epoch.era && name.epoch === epoch.epoch));
  }

  async #exchange(round: Round | null): Promise<void> {
    const { standby, replica, book } = this.#options;
    const held = await standby.held(replica.part);
    book.held(held, replica.rounds());
    if (round === null) return;
    const text = roundText(round.name);
    if (held.some(({ name, uuid }) => roundText(name) === text && (uuid ?? round.uuid) === round.uuid)) return;
    // Others of restored data have nothing in common with it: a difference to them would be guessed by numbers of inodes.
    const own = replica.parentsFor(round);
    const common = book.parentFor(own.map(({ name }) => name));
    const parent = own.find(({ name }) => common !== null && roundText(name) === roundText(common)) ?? null;
    book.sent(round.name, parent?.name ?? null);
    await this.#send(round, parent);
    book.acknowledged(round.name);
  }

  async #send(round: Round, parent: Round | null): Promise<void> {
    const { standby, replica, book, isPressed } = this.#options;
    const source = replica.send(round, parent);
    const given = new AbortController();
    const giveUp = (ms: number): void => {
      source.end();
      given.abort(new Error(`nothing of round ${roundText(round.name)} moved for ${ms / 1000} s`));
    };
    let stall = setTimeout(giveUp, timings.stallMs, timings.stallMs);
    let arrived: number | null = null;
    let disk: NodeJS.Timeout | undefined;
    let [booked, bookedMs] = [0, Number.NEGATIVE_INFINITY];
    const told = (bytes: number): void => {
      if (arrived === null) {
        clearTimeout(stall);
        stall = setTimeout(giveUp, timings.silentMs, timings.silentMs);
      }
      stall.refresh();
      if (bytes !== arrived) {
        clearTimeout(disk);
        disk = setTimeout(giveUp, timings.diskMs, timings.diskMs);
      }
      arrived = bytes;
      // It tells of each frame.
      if (performance.now() - bookedMs < timings.bookMs) return;
      book.moved(bytes - booked);
      [booked, bookedMs] = [bytes, performance.now()];
    };
    this.#source = source;
    const counted = this.#counted(source.stream, parent === null, (bytes) => {
      if (arrived !== null) return;
      stall.refresh();
      book.moved(bytes);
    });
    const urgency = parent === null ? 'copy' : replica.part === 'bulk' ? 'bulk' : isPressed() ? 'push' : 'round';
    try {
      const signal = AbortSignal.any([given.signal, this.#stopped.signal]);
      const sent = { ...round, parent: parent?.name ?? null };
      await standby.take(sent, { ...source, stream: counted }, { pins: book.pins(), urgency, signal, told });
    } finally {
      clearTimeout(stall);
      clearTimeout(disk);
      source.end();
      // While it lives its snapshot cannot be deleted, nor the place be unmounted.
      await source.done.catch(() => {});
      this.#source = null;
      this.progressBytes = null;
    }
  }

  #counted(stream: Readable, isWhole: boolean, moved: (bytes: number) => void): Readable {
    let bytes = 0;
    const counter = new Transform({
      transform: (data: Buffer, _encoding, done) => {
        bytes += data.length;
        if (isWhole) this.progressBytes = bytes;
        moved(data.length);
        done(null, data);
      },
    });
    stream.on('error', (error) => counter.destroy(error));
    return stream.pipe(counter);
  }
}

/** How the standby or the way to it failed. */
const stateOf = (error: unknown): AwayState => {
  if (standbyIsFull(sentenceOf(error))) return 'full';
  return error instanceof RoundRefused ? 'refused' : 'away';
};
