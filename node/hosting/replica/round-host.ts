import { setTimeout as sleep } from 'node:timers/promises';
import type { Change, ChangeOutcome } from '../../../protocol/changes.ts';
import { sentenceOf } from '../../../protocol/errors.ts';
import type { DataId, NodeId } from '../../../protocol/ids.ts';
import type { HostedCopies } from '../../../protocol/ledger-gitlab.ts';
import type { CopiesSeen } from '../../../protocol/report.ts';
import { newestOf, type RoundName, roundText } from '../../../protocol/round-name.ts';
import { CopyRules } from '../../../scheduler/hosting/copies/copy-rules.ts';
import { copyTimings } from '../../../scheduler/hosting/copies/copy-timings.ts';
import { listed } from '../../../scheduler/phrases.ts';
import type { Clock } from '../../clock.ts';
import type { Log } from '../../log.ts';
import { copiesSeen } from './copies-seen.ts';
import type { PinFile } from './pin-file.ts';
import type { Replica, Round, Standby } from './replica-ports.ts';
import type { RoundDisk } from './round-disk.ts';
import { RoundSenders } from './round-senders.ts';
import { RoundThinning } from './round-thinning.ts';
import { type NextRound, RoundTimes } from './round-times.ts';
import { RoundTrouble } from './round-trouble.ts';

interface RoundHostOptions {
  self: NodeId;
  era: number;
  epoch: number;
  data: DataId;
  /** Of this agent process. */
  boot: string;
  /** Both opened before. */
  hot: Replica;
  bulk: Replica;
  disk: RoundDisk;
  pins: PinFile;
  standby(node: NodeId): Standby;
  nameOf(node: NodeId): string;
  /** As committed; null where nobody was asked to hold copies. */
  copies(): HostedCopies | null;
  /** By the committed ledger this machine still hosts these data, in this epoch. */
  isHost(): boolean;
  change(change: Change): Promise<ChangeOutcome>;
  /** Why these data are not all in a round. */
  unprotected(): Promise<string | null>;
  clock: Pick<Clock, 'bootMs' | 'bootId' | 'wallMs'>;
  log: Pick<Log, 'info' | 'warn'>;
}

const timings = {
  /** At most two rounds a second, however many push. */
  gapMs: 500,
  thinEvery: 20,
} as const;

/** How a push ended that waited for its round. */
export interface PushAnswer {
  isAlone: boolean;
}

/** Makes rounds on the host: by itself when something changed, and at once for whoever pushed; and brings them to the standbys. */
export class RoundHost {
  readonly #options: RoundHostOptions;
  readonly #rules: CopyRules;
  readonly #senders: RoundSenders;
  readonly #answers = new Map<number, (answer: PushAnswer) => void>();
  readonly #stopped = new AbortController();
  readonly #lastAsked: ((round: RoundName) => void)[] = [];
  readonly #times: RoundTimes;
  #asked = 0;
  #made = 0;
  /** Of the last look at the bulk part: until then nothing but what is in its newest round was written. */
  #bulkLookedMs = Number.NEGATIVE_INFINITY;
  /** Of the last look that found nothing written since the newest round. */
  #idleMs = Number.NEGATIVE_INFINITY;
  readonly #trouble: RoundTrouble;
  #wake: () => void = () => {};
  #alarm: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();
  readonly #thinning: RoundThinning;

  constructor(options: RoundHostOptions) {
    const { self, era, epoch, data, boot, pins } = options;
    this.#options = options;
    this.#times = new RoundTimes(options);
    this.#trouble = new RoundTrouble(options);
    this.#rules = new CopyRules({ self, era, epoch, data, boot, pins: pins.read() });
    const { hot, bulk, standby, clock, log } = options;
    this.#senders = new RoundSenders({
      ...{ rules: this.#rules, hot, bulk, epoch: { era, epoch }, standby, bootMs: clock.bootMs },
      onChange: () => this.#turn(),
      onProblem: (node, words) => log.warn(`${options.nameOf(node)}: ${words}`),
    });
    this.#thinning = new RoundThinning({
      ...options,
      pins: () => ({ hot: this.#rules.pins(), bulk: this.#senders.bulkBooks.pins() }),
      fails: (error) => this.#trouble.fails(error),
    });
  }

  get era(): number {
    return this.#options.era;
  }

  start(): void {
    this.#resume();
    // What an agent of before let wait may be a push whose hook was ended meanwhile: nobody asks for it again.
    this.#rules.ask(++this.#asked, true);
    this.ledgerChanged();
    this.#running = this.#loop();
  }

  #resume(): void {
    const { hot } = this.#options;
    const rounds = hot.rounds();
    this.#times.resume(newestOf(rounds));
    for (const round of rounds) this.#rules.durable(round.name, this.#times.takenAt(hot, round), round.uuid);
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    clearTimeout(this.#alarm);
    this.#wake();
    await Promise.all([this.#running, this.#senders.stop()]);
    // Nothing of ours holds the place open.
    await Promise.all([this.#thinning.ended(), this.#options.pins.written()]);
  }

  /** A push waits. Answered when the round that was taken after this call is on every member's disk. */
  ask(gone: AbortSignal): Promise<PushAnswer> {
    const id = ++this.#asked;
    this.#rules.ask(id);
    // Its push waits on: the ref is changed, and whoever pushes once more would hear that all is up to date (H10, J).
    gone.addEventListener('abort', () => this.#answers.delete(id));
    const answer = new Promise<PushAnswer>((resolve) => this.#answers.set(id, resolve));
    this.#turn();
    this.#wake();
    return answer;
  }

  /**
   * GitLab has ended: one round more of both parts, whatever was written since the newest one. Resolves once it is on this disk; never
   * where none can be made, which `seen` says.
   */
  lastRound(): Promise<RoundName> {
    const made = new Promise<RoundName>((resolve) => this.#lastAsked.push(resolve));
    this.#wake();
    return made;
  }

  /** The newest round from `from` on that is on that machine's disk, by both books; null while none is. */
  arrived(node: NodeId, from: RoundName): RoundName | null {
    return this.#senders.arrived(node, from);
  }

  /** Whether that machine has all of the bulk part, as far as a round of it was taken. */
  hasBulk(node: NodeId): boolean {
    const newest = this.#newestOf(this.#options.bulk);
    return newest !== null && this.#senders.bulkBooks.has(node, newest.name);
  }

  /** When every push that waits now was answered: before that nobody may be told that its refs are there. Rejects once `gone`. */
  async settled(gone?: AbortSignal): Promise<void> {
    const waiting = new Set(this.#rules.waiting);
    const isWaited = () => !this.#stopped.signal.aborted && this.#rules.waiting.some((id) => waiting.has(id));
    while (isWaited()) await sleep(5, undefined, gone && { signal: gone });
  }

  /** Why a push is on this machine alone, for the pusher's terminal. */
  aloneWords(): string {
    const { self, nameOf } = this.#options;
    const said = this.#rules.seen(this.#options.clock.bootMs()).standbys;
    const why = this.#trouble.words ?? said.map(({ node, because }) => `${nameOf(node)}: ${because}`)[0];
    return `this push is on one machine only, ${nameOf(self)}: ${why ?? 'no other machine holds copies now'}`;
  }

  /** What a push waits for, for the pusher's terminal: "waits until" and so on. */
  waitWords(): string {
    const { self, nameOf } = this.#options;
    const { failing } = this.#trouble;
    if (failing !== null) return `waits until ${nameOf(self)} can make a copy of it: ${failing}`;
    const nodes = this.#rules.waitsFor;
    if (nodes === null) return `waits until the mesh has confirmed that ${nameOf(self)} makes copies`;
    if (nodes.length === 0) return `waits until it is on the disk of ${nameOf(self)}`;
    return `waits until it is on ${listed(nodes.map(nameOf))}, or the mesh has agreed to go on without`;
  }

  /** Who else holds which rounds of the hot part, by name. */
  holders(): { name: string; rounds: readonly RoundName[] }[] {
    const { nameOf } = this.#options;
    return this.#senders.holders().map(([node, rounds]) => ({ name: nameOf(node), rounds }));
  }

  /** Whoever is to hold copies by it, and whoever is in sync by it. */
  ledgerChanged(): void {
    const { clock, self } = this.#options;
    if (this.#stopped.signal.aborted || !this.#options.isHost()) return;
    const copies = this.#options.copies();
    this.#rules.ledger(copies, clock.bootMs());
    this.#senders.tend(new Set((copies?.standbys ?? []).map(({ node }) => node).filter((node) => node !== self)));
    this.#turn();
    this.#wake();
  }

  seen(): CopiesSeen {
    const { clock, bulk, disk } = this.#options;
    const newest = this.#newestOf(bulk);
    return copiesSeen(this.#rules.seen(clock.bootMs()), {
      ...{ bootMs: clock.bootMs(), wallMs: clock.wallMs(), problem: this.#trouble.words },
      idleMs: this.#idleMs,
      usedBytes: disk.usedBytes(),
      /** Until when, by boot time, that machine has all of the bulk part. */
      bulkUntil: (node) => {
        if (newest === null || this.#senders.bulkBooks.has(node, newest.name)) return this.#bulkLookedMs;
        const known = this.#senders.bulkBooks.newestOf(node);
        const round = bulk.rounds().find(({ name }) => known !== null && roundText(name) === roundText(known));
        return round ? this.#times.takenAt(bulk, round) : null;
      },
      progressOf: (node) => this.#senders.progressOf(node),
    });
  }

  /** What the rules say now: pushes that may go, and changes to ask for. */
  #turn(): void {
    // Whatever a ledger of another host says of copies is no answer to a push that waits here.
    if (this.#stopped.signal.aborted || !this.#options.isHost()) return;
    const { clock, change, log, pins } = this.#options;
    const at = clock.bootMs();
    const { release, changes, wakeAt } = this.#rules.due(at);
    for (const { id, isAlone } of release) {
      // Where not all is in a round nobody can say that this is.
      this.#answers.get(id)?.({ isAlone: isAlone || this.#trouble.unprotected !== null });
      this.#answers.delete(id);
    }
    pins.keep(this.#rules.pinned());
    for (const one of changes)
      change(one).then(
        ({ state, because }) => {
          if (state !== 'done') log.info(`the mesh did not take ${one.kind}: ${because}`);
          this.ledgerChanged();
        },
        (error: unknown) => log.info(`${one.kind} was not asked for: ${sentenceOf(error)}`),
      );
    clearTimeout(this.#alarm);
    if (Number.isFinite(wakeAt))
      this.#alarm = setTimeout(() => this.#turn(), Math.min(60_000, Math.max(1, wakeAt - at)));
    // Somebody in the set has not got what a push waits for: it waits for another round, which the standby may take.
    if (this.#rules.wantsRound) this.#wake();
  }

  async #loop(): Promise<void> {
    const { clock, copies, isHost } = this.#options;
    let last = Number.NEGATIVE_INFINITY;
    while (!this.#stopped.signal.aborted) {
      const now = clock.bootMs();
      const isDue = now - last >= copyTimings.intervalMs;
      try {
        const isAsked = copies() !== null && isHost();
        const isLast = this.#lastAsked.length > 0;
        if (isAsked && (isLast || this.#rules.wantsRound || (isDue && (await this.#hasChanged())))) {
          // Nobody is served until the last one has arrived.
          if (!isLast) await sleep(Math.max(0, last + timings.gapMs - clock.bootMs()));
          if (this.#stopped.signal.aborted) return;
          last = clock.bootMs();
          await this.#round(isLast);
          this.#trouble.works();
        } else {
          if (isDue) {
            last = now;
            this.#trouble.works();
          }
          await this.#sleepUntil(last + copyTimings.intervalMs);
        }
      } catch (error) {
        this.#trouble.fails(error);
        await sleep(timings.gapMs);
      }
    }
  }

  async #hasChanged(): Promise<boolean> {
    if (this.#rules.isOvertaken) return true;
    const { hot, bulk } = this.#options;
    const [newest, newestBulk] = [this.#newestOf(hot), this.#newestOf(bulk)];
    const at = this.#options.clock.bootMs();
    if (newest === null || newestBulk === null || (await hot.hasChanged(newest))) return true;
    this.#idleMs = at;
    // Both parts lie on one file system, which the look at the other one has just made write.
    if (await bulk.hasChanged(newestBulk, true)) return true;
    this.#bulkLookedMs = at;
    return false;
  }

  #newestOf(replica: Replica): Round | null {
    const { era, epoch } = this.#options;
    return newestOf(replica.rounds().filter(({ name }) => name.era === era && name.epoch === epoch));
  }

  /** One round: taken, and told to whoever brings it to the standbys; thinned now and then. */
  async #round(isLast: boolean): Promise<void> {
    const { hot, clock } = this.#options;
    const next = this.#times.next(this.#rules.numberHeld);
    const { name, bootMs, atMs } = next;
    this.#rules.begins(name);
    let round: Round;
    try {
      round = await hot.snapshot(name, atMs, { boot: clock.bootId(), ms: bootMs });
    } catch (error) {
      this.#rules.failed(name);
      throw error;
    }
    this.#rules.durable(name, bootMs, round.uuid);
    this.#senders.wake('hot');
    this.#turn();
    const isBulkDue = clock.bootMs() - this.#bulkLookedMs >= copyTimings.intervalMs;
    if (isLast || isBulkDue) await this.#bulkRound(next, isLast);
    if (isLast) for (const made of this.#lastAsked.splice(0)) made(name);
    await this.#trouble.look();
    if (++this.#made % timings.thinEvery === 0) this.#thinning.begin();
  }

  /** Behind the hot one, under its name: what was written here until that one began its syncs have committed. */
  async #bulkRound({ name, bootMs, atMs }: NextRound, isLast: boolean): Promise<void> {
    const { bulk, clock } = this.#options;
    const newest = this.#newestOf(bulk);
    if (isLast || newest === null || (await bulk.hasChanged(newest, true))) {
      await bulk.snapshot(name, atMs, { boot: clock.bootId(), ms: bootMs });
      this.#senders.wake('bulk');
    }
    this.#bulkLookedMs = bootMs;
  }

  #sleepUntil(at: number): Promise<void> {
    const { copies, isHost } = this.#options;
    const isWanted = this.#rules.wantsRound || this.#lastAsked.length > 0;
    if (this.#stopped.signal.aborted || (isWanted && copies() !== null && isHost())) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.max(0, at - this.#options.clock.bootMs()));
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
