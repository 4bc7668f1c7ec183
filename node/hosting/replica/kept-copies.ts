import { setTimeout as sleep } from 'node:timers/promises';
import { AutogitError, sentenceOf } from '../../../protocol/errors.ts';
import { asSentence, type NodeId } from '../../../protocol/ids.ts';
import type { Ledger } from '../../../protocol/ledger.ts';
import type { StandbySeen } from '../../../protocol/report.ts';
import { newestOf, type RoundName, roundText } from '../../../protocol/round-name.ts';
import type { RoundsOf } from '../../../scheduler/hosting/copies/standby-rules.ts';
import { type Pressure, thin } from '../../../scheduler/hosting/copies/thinning.ts';
import { type Hosting, hostingOf } from '../../../scheduler/hosting/hosted-edits.ts';
import type { Log } from '../../log.ts';
import type { DataPlace } from '../data-place.ts';
import type { Drillable } from '../drill/drill-master.ts';
import { fencedNames } from '../move/living-data.ts';
import type { PlaceAt } from '../place-choice.ts';
import { treeOf } from '../place-tree.ts';
import { bulkBeside } from './bulk-beside.ts';
import { copiesAt, noteFenced, wasServedHere } from './copies-note.ts';
import { LeftCopies } from './left-copies.ts';
import { type OpenCopies, openCopies } from './open-copies.ts';
import type { Round, RoundGiver, RoundPart, RoundSource, RoundTaker } from './replica-ports.ts';
import { fullProblem, ReplicaProblem } from './replica-problem.ts';
import { KeptRoundGiver } from './round-giver.ts';
import { promiseOf, type RoundPromise } from './round-promise.ts';
import { isFull, pressureAt } from './round-room.ts';

interface KeptCopiesOptions {
  self: NodeId;
  home: string;
  log: Pick<Log, 'info' | 'warn'>;
  ledger(): Ledger | null;
  /** Made where there is none, but for one where GitLab once ran: that is there. */
  openPlace(hosting: Hosting, at: { path: string; isNoted: boolean }): Promise<DataPlace>;
  removePlace(hosting: Hosting, folder: string): Promise<void>;
  /** Its place is in the hands of who runs it here, or ran it until now: nobody else opens it. */
  isHosted(data: string): boolean;
  /** What this machine says of its drills, of what it boots beside, and of what it keeps of before. */
  besides(): Pick<StandbySeen, 'drill' | 'beside' | 'fenced' | 'unkept'>;
  /** What else uses the open place ends first; true: it goes on there, and its place stays as it is. */
  beforeClose(place: DataPlace): Promise<boolean>;
  report(seen: StandbySeen | null): void;
}

const timings = { lookMs: 2000, againMs: 20_000, tendMs: 10_000, thinEvery: 20, quietMs: 1500 } as const;

function drillableOf({ place, hosting, parts }: OpenCopies): Drillable | null {
  const hot = newestOf(parts.hot.rounds());
  if (hot === null) return null;
  const bulk = bulkBeside(hot, parts.bulk.rounds());
  const source = { hot: parts.hot.folderOf(hot), bulk: bulk && parts.bulk.folderOf(bulk) };
  return { hosting, place, source, round: hot.name };
}

/** The copies that this machine holds of a GitLab that another one runs: its own data place, open while the ledger has it so. */
export class KeptCopies {
  readonly #options: KeptCopiesOptions;
  readonly #stopped = new AbortController();
  #wake = new AbortController();
  #open: OpenCopies | null = null;
  #problem: string | null = null;
  #triedMs = Number.NEGATIVE_INFINITY;
  #tendedMs = Number.NEGATIVE_INFINITY;
  #pressure: Pressure = 0;
  #taken = 0;
  /** Of the last handshake that was followed by no round: nothing lacks here. */
  #quietSince: number | null = null;
  /** What is wrong came with a round, and is over when the host finds that none lacks here. */
  #isOfRound = false;
  readonly #left: LeftCopies;
  #isTurning = false;
  #said = '';
  #loop: Promise<void> = Promise.resolve();
  readonly #giving = new KeptRoundGiver(() => this.#here().parts);
  /** One round of a part at a time, however many connections there are. */
  readonly #busy: Record<RoundPart, Promise<unknown>> = { hot: Promise.resolve(), bulk: Promise.resolve() };

  constructor(options: KeptCopiesOptions) {
    this.#options = options;
    this.#left = new LeftCopies(options);
  }

  start(): void {
    this.#loop = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    this.#wake.abort();
    await this.#loop;
    await this.#giving.end();
    await this.#open?.place.letGo();
  }

  /** The mesh has removed this machine. */
  removed(): void {
    this.#left.removed();
  }

  ledgerChanged(): void {
    this.#triedMs = Number.NEGATIVE_INFINITY;
    this.#wake.abort();
  }

  /** Resolves once none of that GitLab's data are open here: this machine is to run it, or to give up what it ran. */
  async freed(data: string): Promise<void> {
    while (this.#isTurning || this.#open?.hosting.data === data) {
      this.#stopped.signal.throwIfAborted();
      this.#wake.abort();
      await sleep(20);
    }
  }

  /** Why nothing can be taken here now, in words for the host; null when it can. */
  whyNot(from: NodeId, data: string, epoch: number): string | null {
    const mine = this.#mine();
    if (mine === null) return 'this machine is not to hold copies, by its ledger';
    if (mine.host !== from || mine.data !== data || mine.epoch !== epoch)
      return 'rounds are taken from the host of the ledger alone';
    if (this.#open !== null) return null;
    if (this.#isHosted(mine)) return 'what it ran of GitLab until now is not given up there yet';
    return this.#problem ?? 'its place for copies is not open yet';
  }

  /** Where the copies of that GitLab lie, while they are open; in words why not. */
  heldAt(data: string): PlaceAt | { problem: string } {
    const { place, hosting } = this.#open ?? {};
    if (place && hosting?.data === data) return { kind: place.kind, path: place.path };
    return { problem: this.#problem ?? 'its place for copies is not open yet' };
  }

  /** The newest that GitLab could be started from: of the hot part, with the bulk part that goes with it. */
  drillable = (): Drillable | null => (this.#open && this.#mine() !== null ? drillableOf(this.#open) : null);

  promise = (data: string, epoch: number): Promise<RoundPromise> => {
    const [ledger, mine] = [this.#options.ledger(), this.#mine()];
    return promiseOf({ ...{ data, epoch }, ledger, mine, open: this.#open, problem: this.#problem });
  };

  /** For one connection, whose other end is known. */
  takerFor(from: NodeId): RoundTaker {
    return {
      held: async (part) => {
        if (this.#mine()?.host !== from)
          throw new ReplicaProblem('rounds are told to the host of the ledger alone', 'see: autogit-node gitlab');
        const rounds = this.#here().parts[part].rounds();
        this.#quietSince = performance.now();
        return rounds.map(({ name, uuid }) => ({ name, uuid }));
      },
      take: (round, source, pins) => {
        const next = this.#busy[round.part].then(() => this.#take(from, round, source, pins));
        this.#busy[round.part] = next.catch(() => {});
        return next;
      },
    };
  }

  /** For a connection of that machine's alone, as long as it hosts. */
  giverFor(from: NodeId): RoundGiver {
    const giving = this.#giving;
    const onlyTo = (): KeptRoundGiver => {
      if (this.#mine()?.host === from) return giving;
      throw new ReplicaProblem('rounds are given to the host of the ledger alone', 'see: autogit-node gitlab');
    };
    return {
      dated: async () => onlyTo().dated(),
      give: async (...asked) => onlyTo().give(...asked),
      given: (gift) => giving.given(gift),
    };
  }

  #here(): OpenCopies {
    if (this.#open === null)
      throw new ReplicaProblem(this.#problem ?? 'no copies are held here now', 'look at it there: autogit-node status');
    return this.#open;
  }

  async #take(from: NodeId, round: Round, source: RoundSource, pins: readonly RoundName[]): Promise<void> {
    this.#quietSince = null;
    try {
      const open = this.#here();
      const [replica, rules] = [open.parts[round.part], open.rules[round.part]];
      const refused = rules.whyNot(from, round, this.#roundsOf(), replica.rounds());
      if (refused !== null) throw new ReplicaProblem(refused, 'the host looks for itself: autogit-node status');
      rules.named(round, pins);
      await this.#makeRoom(open);
      await replica.receive(round, source, () => this.#makeRoom(open));
      if (++this.#taken % timings.thinEvery === 0) await this.#thin(open);
      this.#problem = null;
      this.#report();
    } catch (error) {
      source.end();
      this.#says(sentenceOf(error));
      this.#isOfRound = true;
      throw error;
    }
  }

  /** By the committed ledger; null where this machine is to take nothing. */
  #roundsOf(): RoundsOf | null {
    const ledger = this.#options.ledger();
    const mine = this.#mine();
    return ledger && mine && { host: mine.host, era: ledger.era.counter, epoch: mine.epoch };
  }

  /** What it holds copies of, or shall. */
  #mine(): Hosting | null {
    const hosting = hostingOf(this.#options.ledger());
    if (hosting === null || hosting.host === this.#options.self) return null;
    return hosting.copies?.standbys.some(({ node }) => node === this.#options.self) ? hosting : null;
  }

  /** Whose place is open here: also of what this machine ran itself, as long as that is to be looked at. No rounds come there then. */
  #wanted(): Hosting | null {
    const { home, self, ledger } = this.#options;
    const known = hostingOf(ledger());
    if (known === null || known.host === self) return null;
    return this.#mine() ?? (wasServedHere(home, known.data) ? known : null);
  }

  async #run(): Promise<void> {
    while (!this.#stopped.signal.aborted) {
      this.#wake = new AbortController();
      this.#isTurning = true;
      try {
        await this.#turn();
      } catch (error) {
        this.#says(error instanceof AutogitError ? `${error.message}: ${error.hint}` : sentenceOf(error));
      } finally {
        this.#isTurning = false;
      }
      await sleep(timings.lookMs, undefined, { signal: this.#wake.signal }).catch(() => undefined);
    }
  }

  async #turn(): Promise<void> {
    const mine = this.#wanted();
    const open = this.#open;
    const known = hostingOf(this.#options.ledger());
    if (open !== null && known?.data === open.hosting.data) open.hosting = known;
    if (open !== null && (this.#isHosted(mine) || mine?.data !== open.hosting.data)) await this.#giveUp(open);
    await this.#left.clear(known);
    const now = performance.now();
    // A line that was cut and is back brings nothing where nothing lacks: its sentence would stay for ever.
    if (this.#isOfRound && this.#quietSince !== null && now - this.#quietSince >= timings.quietMs) this.#problem = null;
    // Without a pause after the question: whoever runs GitLab here waits for this turn from then on.
    const isFree = mine !== null && !this.#isHosted(mine);
    if (isFree && this.#open === null && now - this.#triedMs >= timings.againMs) {
      this.#triedMs = now;
      await this.#begin(mine);
    }
    if (this.#open !== null && now - this.#tendedMs >= timings.tendMs) {
      this.#tendedMs = now;
      const { place, hosting } = this.#open;
      for (const said of await place.tend()) this.#says(said);
      // A person may have looked at it, and deleted it.
      noteFenced(this.#options.home, hosting.data, fencedNames(treeOf(place)));
      await place.check().catch((error) => this.#reopen(error));
    }
    this.#report();
  }

  #isHosted(mine: Hosting | null): boolean {
    return mine !== null && this.#options.isHosted(mine.data);
  }

  async #begin(hosting: Hosting): Promise<void> {
    const { openPlace, log, ledger, home } = this.#options;
    const place = await openPlace(hosting, copiesAt(home, hosting.data));
    for (const notice of place.notices) log.warn(notice);
    this.#open = await openCopies(hosting, place, { home, log, ledger: ledger() });
    this.#problem = null;
    const { length } = this.#open.parts.hot.rounds();
    const what = this.#mine() === null ? 'what this machine served of GitLab is' : 'copies of GitLab are';
    log.info(`${what} held here, in ${place.path}: ${length} rounds`);
  }

  /** An error of the disk below makes it read-only until it is really unmounted. */
  async #reopen(cause: unknown): Promise<void> {
    const open = this.#open;
    if (open === null) return;
    this.#says(cause instanceof AutogitError ? `${cause.message}: ${cause.hint}` : sentenceOf(cause));
    await this.#close(open);
  }

  /** Nothing more is let in before what is under way is waited for: else there is always one more. */
  async #close(open: OpenCopies): Promise<void> {
    this.#open = null;
    await Promise.all([...Object.values(this.#busy), this.#giving.end()]);
    const goesOn = await this.#options.beforeClose(open.place);
    await (goesOn ? open.place.letGo() : open.place.close());
  }

  /** The ledger names it no more: what lies there stays until it is known that it shall go. */
  async #giveUp(open: OpenCopies): Promise<void> {
    await this.#close(open);
    this.#problem = null;
    this.#options.log.info(`no copies of GitLab are taken any more; what is here lies in ${open.place.path}`);
  }

  async #makeRoom(open: OpenCopies): Promise<void> {
    const pressure = pressureAt(open.disk.room(), this.#pressure);
    if (pressure > 0) {
      await open.place.tend();
      this.#pressure = pressureAt(open.disk.room(), this.#pressure);
      if (this.#pressure > 0) await this.#thin(open);
    } else this.#pressure = 0;
    if (isFull(open.disk.room())) throw fullProblem('no room for another round', this.#roomFix(open.place));
  }

  /** What it served goes on a person's word alone: so that word is named. */
  #roomFix(place: DataPlace): string {
    const [name] = fencedNames(treeOf(place));
    const drop =
      name === undefined ? '' : `, or let go of what it served before: autogit-node gitlab fenced drop ${name}`;
    return `make room on that machine: df -h ${place.path}${drop}`;
  }

  async #thin({ parts, rules, hosting }: OpenCopies): Promise<void> {
    const base = hostingOf(this.#options.ledger())?.copies?.bases[hosting.epoch] ?? null;
    for (const part of ['hot', 'bulk'] as const) {
      const rounds = parts[part].rounds();
      // As on the host: the hot part, thinned before it, says what of the bulk part goes with it.
      const beside = part === 'hot' ? [] : parts.hot.rounds().flatMap((one) => bulkBeside(one, rounds)?.name ?? []);
      const own = [...rules[part].pins(rounds, base, hosting.epoch), ...this.#giving.pins(part)];
      const pins = [...own, ...beside];
      await parts[part].remove(thin(rounds, new Set(pins.map(roundText)), this.#pressure));
    }
  }

  /** Once each. */
  #says(problem: string): void {
    if (this.#problem !== problem) this.#options.log.warn(`copies of GitLab: ${problem}`);
    this.#problem = problem;
    this.#isOfRound = false;
    this.#report();
  }

  #report(): void {
    const wanted = this.#wanted();
    const newest = this.#mine() === null ? null : newestOf(this.#open?.parts.hot.rounds() ?? []);
    const seen: StandbySeen | null = wanted && {
      data: wanted.data,
      newest: newest && { round: newest.name, takenAt: newest.wallMs },
      // In steps, so that a report is news only when it is one.
      freeBytes: Math.floor((this.#open?.disk.room().freeBytes ?? 0) / 2 ** 26) * 2 ** 26,
      problem: this.#problem === null ? null : asSentence(this.#problem),
      ...this.#options.besides(),
    };
    const said = JSON.stringify(seen);
    if (said === this.#said) return;
    this.#said = said;
    this.#options.report(seen);
  }
}
