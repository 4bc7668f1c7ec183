import { setTimeout as sleep } from 'node:timers/promises';
import { sentenceOf } from '../../../protocol/errors.ts';
import { newestOf, type RoundName, roundText } from '../../../protocol/round-name.ts';
import { PushWait } from '../../../scheduler/hosting/copies/push-wait.ts';
import { thin } from '../../../scheduler/hosting/copies/thinning.ts';
import type { Replica, Round, Standby } from './replica-ports.ts';

export interface RoundHostOptions {
  replica: Replica;
  standbys: readonly Standby[];
  /** The in-sync set as it is committed. */
  members: () => readonly string[];
  era: number;
  epoch: number;
  /** Boot time (SAFETY H4). */
  bootMs: () => number;
  onProblem: (words: string) => void;
}

const intervalMs = 5000;
/** At most two rounds a second, however many push. */
const gapMs = 500;
const thinEvery = 20;

/** How a push ended that waited for its round. */
export interface PushAnswer {
  isAlone: boolean;
}

/** Makes rounds on the host: by itself when something changed, and at once for whoever pushed. */
export class RoundHost {
  readonly #options: RoundHostOptions;
  readonly #wait = new PushWait();
  readonly #answers = new Map<number, (answer: PushAnswer) => void>();
  readonly #pins = new Map<string, RoundName>();
  readonly #given = new AbortController();
  #asked = 0;
  #number = 0;
  #atMs = 0;
  #lastBootMs = 0;
  #made = 0;
  #stopped = false;
  #wake: () => void = () => {};
  #running: Promise<void> = Promise.resolve();

  constructor(options: RoundHostOptions) {
    this.#options = options;
  }

  start(): void {
    this.resume();
    this.#running = this.#loop();
  }

  /** The replica was opened before. Its rounds say where numbers and time go on. */
  resume(): void {
    const { replica, era, epoch, bootMs } = this.#options;
    const newest = newestOf(replica.rounds());
    if (newest?.name.era === era && newest.name.epoch === epoch) this.#number = newest.name.number;
    this.#atMs = newest?.atMs ?? 0;
    this.#lastBootMs = bootMs();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#given.abort();
    this.#wake();
    await this.#running;
  }

  /** A push waits. Answered when the round that was taken after this call is on every member's disk. */
  ask(gone: AbortSignal): Promise<PushAnswer> {
    const id = ++this.#asked;
    this.#wait.ask(id);
    gone.addEventListener('abort', () => {
      this.#wait.forget(id);
      this.#answers.delete(id);
    });
    this.#wake();
    return new Promise((resolve) => this.#answers.set(id, resolve));
  }

  /** Returns when every push that waits now was answered: before that nobody may be told that its refs are there. */
  async settled(): Promise<void> {
    const waiting = new Set(this.#wait.waiting);
    while (!this.#stopped && this.#wait.waiting.some((id) => waiting.has(id))) await sleep(5);
  }

  /** The in-sync set was changed, and the change is committed. */
  membersChanged(): void {
    for (const { id, isAlone } of this.#wait.release(this.#options.members())) {
      this.#answers.get(id)?.({ isAlone });
      this.#answers.delete(id);
    }
  }

  /** One round, now: taken, sent to every standby, acknowledged, thinned. */
  async round(): Promise<Round> {
    const { replica, standbys, bootMs } = this.#options;
    const now = bootMs();
    this.#atMs += Math.max(0, now - this.#lastBootMs);
    this.#lastBootMs = now;
    const name = this.#nameOf(this.#number + 1);
    this.#wait.begins(name);
    let round: Round;
    try {
      round = await replica.snapshot(name, this.#atMs);
    } catch (error) {
      this.#wait.failed(name);
      throw error;
    }
    this.#number = name.number;
    this.#wait.durable(name);
    await Promise.all(standbys.map((standby) => this.#send(standby, round)));
    if (++this.#made % thinEvery === 0) await this.thin();
    return round;
  }

  async thin(): Promise<void> {
    const { replica } = this.#options;
    const pinned = new Set([...this.#pins.values()].map(roundText));
    await replica.remove(thin(replica.rounds(), pinned));
  }

  async #send(standby: Standby, round: Round): Promise<void> {
    const { replica, onProblem } = this.#options;
    try {
      const held = new Set((await standby.held('hot')).map(roundText));
      const parent = newestOf(replica.rounds().filter((one) => one !== round && held.has(roundText(one.name))));
      // From here on the parent may not be thinned, nor, by the list that goes along, on the other standbys.
      if (parent) this.#pins.set(standby.node, parent.name);
      const sent: Round = { ...round, parent: parent?.name ?? null };
      await standby.take(sent, replica.send(round, parent), {
        pins: [...this.#pins.values()],
        urgency: parent ? 'round' : 'copy',
        signal: this.#given.signal,
      });
      this.#pins.set(standby.node, round.name);
      this.#wait.acknowledged(standby.node, round.name);
      this.membersChanged();
    } catch (error) {
      onProblem(`${standby.node} has no round ${roundText(round.name)}: ${sentenceOf(error)}`);
    }
  }

  async #loop(): Promise<void> {
    const { replica, onProblem } = this.#options;
    let last = Number.NEGATIVE_INFINITY;
    while (!this.#stopped) {
      this.membersChanged();
      try {
        const newest = newestOf(replica.rounds());
        const isDue = performance.now() - last >= intervalMs;
        if (this.#wait.wantsRound || (isDue && (!newest || (await replica.hasChanged(newest))))) {
          const early = gapMs - (performance.now() - last);
          if (early > 0) await sleep(early);
          if (this.#stopped) return;
          last = performance.now();
          await this.round();
        } else {
          if (isDue) last = performance.now();
          await this.#sleepUntil(last + intervalMs);
        }
      } catch (error) {
        onProblem(sentenceOf(error));
        await this.#sleepUntil(performance.now() + gapMs);
      }
      // Somebody in the set has not got what a push waits for: it waits for another round, which the standby may take.
      if (this.#wait.waiting.length > 0 && !this.#wait.wantsRound) this.#wait.failed(this.#nameOf(this.#number));
    }
  }

  #nameOf(number: number): RoundName {
    return { era: this.#options.era, epoch: this.#options.epoch, number };
  }

  #sleepUntil(at: number): Promise<void> {
    if (this.#stopped || this.#wait.wantsRound) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.max(0, at - performance.now()));
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
