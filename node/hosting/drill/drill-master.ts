import { AutogitError, sentenceOf } from '../../../protocol/errors.ts';
import { asSentence } from '../../../protocol/ids.ts';
import type { DrillSeen, DrillStep } from '../../../protocol/report.ts';
import { type RoundName, roundText } from '../../../protocol/round-name.ts';
import {
  drillParts,
  drillTimings,
  isDrillDue,
  jobsWaiting,
  mustYield,
  whyEndDrill,
  whyNoDrill,
} from '../../../scheduler/hosting/drill-rules.ts';
import { type Hosting, hostedUrl, hostingOf } from '../../../scheduler/hosting/hosted-edits.ts';
import type { ViewInput } from '../../../scheduler/snapshot-view.ts';
import type { Clock } from '../../clock.ts';
import type { Log } from '../../log.ts';
import type { CloneSource } from '../clone/clone-tree.ts';
import type { GitlabClones } from '../clone/gitlab-clones.ts';
import type { DataPlace } from '../data-place.ts';
import { withFix } from '../with-fix.ts';
import { DrillMemory, type DrillNotes } from './drill-memory.ts';
import type { DrillEnd } from './gitlab-drill.ts';

/** What of GitLab lies on this machine, and can be tried. */
export interface Drillable {
  hosting: Hosting;
  place: DataPlace;
  source: CloneSource;
  /** Null: the living data of the host. */
  round: RoundName | null;
}

interface DrillOptions {
  home: string;
  mesh(): string;
  clock: Pick<Clock, 'bootMs' | 'wallMs'>;
  log: Pick<Log, 'info' | 'warn'>;
  /** Null while the core has not begun. */
  view(): ViewInput | null;
  clones: GitlabClones;
  /** Null where nothing lies here that can be tried. */
  drillable(): Drillable | null;
  /** GitLab's image on this machine, pulled if need be, and kept from any clean-up. */
  haveImage(hosting: Hosting, signal: AbortSignal): Promise<void>;
  /** Nothing of it lies here any more: its image need not stay. */
  releaseImage(data: string): Promise<void>;
  /** False: its owner wants none. */
  isAllowed: boolean;
}

const timings = { lookMs: 1000, imageEveryMs: 3_600_000 } as const;

interface Running {
  isAsked: boolean;
  waitedBefore: number;
  stop: AbortController;
  /** Why it was ended. */
  because: string | null;
  phase: string;
  steps: DrillStep[];
  over: Promise<void>;
}

/** Drills on this machine: by themselves when they are due and in nobody's way, and when a person asks. Nothing that fails here ends the agent. */
export class DrillMaster {
  readonly #options: DrillOptions;
  readonly #memory: DrillMemory;
  #timer: NodeJS.Timeout | null = null;
  #running: Running | null = null;
  #isStopped = false;
  #waits: string | null = null;
  #imageAtMs = Number.NEGATIVE_INFINITY;
  #pulling: AbortController | null = null;
  #imageProblem: string | null = null;

  constructor(options: DrillOptions) {
    this.#options = options;
    this.#memory = new DrillMemory(options.home);
  }

  start(): void {
    this.#timer = setInterval(() => this.#look(), timings.lookMs);
  }

  /** What is under way ends; its clone is gone when it returns. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    if (this.#timer) clearInterval(this.#timer);
    this.#pulling?.abort();
    await this.#end('its agent ends');
    await this.#memory.written();
  }

  /** What the mesh is told; nothing where there is nothing to try. */
  seen(): { drill?: DrillSeen } {
    const target = this.#options.drillable();
    if (target === null) return {};
    const notes = this.#notes(target);
    const isHost = target.round === null;
    if (isHost && notes.last === null && this.#running === null && notes.ended === null) return {};
    const { last, proven, ended } = notes;
    const doing = this.#running && { phase: this.#running.phase.slice(0, 200), steps: [...this.#running.steps] };
    return { drill: { last, proven, ended, doing, waits: this.#waits } };
  }

  /** A person wants one now. Throws `drill` with why not. */
  ask(data: string): string {
    const target = this.#options.drillable();
    if (!this.#options.isAllowed)
      throw no(
        'the owner of this machine wants no drills on it',
        'drill: daily in its autogit.yml, then start its agent anew',
      );
    if (target === null || target.hosting.data !== data)
      throw no(
        'nothing of GitLab lies on this machine that can be tried',
        'which machines hold copies: autogit-node gitlab',
      );
    if (this.#running !== null) throw no('a drill is under way on this machine already', 'autogit-node gitlab');
    const view = this.#options.view();
    const why = view === null ? 'its agent has just begun' : whyNoDrill(view, true);
    if (why !== null)
      throw no(`no drill can begin on this machine: ${why}`, 'try it later, or on another machine: --on NAME');
    this.#begin(target, true, view as ViewInput);
    return asSentence(`a drill begins, from ${roundWords(target.round)}: autogit-node gitlab`);
  }

  #look(): void {
    const { isAllowed, clock } = this.#options;
    const target = this.#options.drillable();
    const view = this.#options.view();
    if (view === null || this.#isStopped) return;
    if (this.#running !== null) {
      const { isAsked, waitedBefore } = this.#running;
      const why = target === null ? 'what it tries is not here any more' : whyEndDrill(view, isAsked, waitedBefore);
      if (why !== null) void this.#end(why);
      return;
    }
    const why = whyNoDrill(view, false);
    if (why !== null) this.#pulling?.abort();
    if (target === null) this.#forget(view);
    // By itself never on the host: there it would take from what serves.
    if (!isAllowed || target === null || target.round === null) return this.#waitsFor(null);
    if (why === null) void this.#tendImage(target.hosting);
    if (!isDrillDue(this.#past(target), clock.wallMs())) return this.#waitsFor(null);
    const waits = why ?? this.#imageProblem ?? (this.#pulling === null ? null : "GitLab's image is pulled");
    this.#waitsFor(waits);
    if (waits === null) this.#begin(target, false, view);
  }

  /** The mesh has no such GitLab any more, or this machine holds no copy of it by the ledger. */
  #forget({ ledger, self }: ViewInput): void {
    const { data } = this.#memory;
    const hosting = hostingOf(ledger);
    if (data === null || ledger === null || this.#pulling !== null) return;
    const isOurs = hosting?.host === self || hosting?.copies?.standbys.some(({ node }) => node === self) === true;
    if (hosting?.data === data && isOurs) return;
    this.#memory.forget();
    this.#options
      .releaseImage(data)
      .catch((error: unknown) => this.#options.log.info(`GitLab's image stays on this machine: ${sentenceOf(error)}`));
  }

  #waitsFor(why: string | null): void {
    this.#waits = why === null ? null : asSentence(why);
  }

  #past(target: Drillable) {
    const { since, last, ended } = this.#notes(target);
    return { since, last, ended: ended?.at ?? null };
  }

  #notes = ({ hosting }: Drillable): DrillNotes => this.#memory.of(hosting.data, this.#options.clock.wallMs());

  /** A standby that is to start GitLab one day has its image before that day. Looked at now and then. */
  async #tendImage(hosting: Hosting): Promise<void> {
    const { clock, haveImage, log } = this.#options;
    if (this.#pulling !== null || clock.bootMs() - this.#imageAtMs < timings.imageEveryMs) return;
    this.#imageAtMs = clock.bootMs();
    const pulling = new AbortController();
    this.#pulling = pulling;
    try {
      await haveImage(hosting, pulling.signal);
      this.#imageProblem = null;
    } catch (error) {
      // Given up for who sits here: tried again as soon as it may.
      if (pulling.signal.aborted) this.#imageAtMs = Number.NEGATIVE_INFINITY;
      else {
        this.#imageProblem = withFix(error);
        log.warn(`drills of GitLab: ${this.#imageProblem}`);
      }
    } finally {
      this.#pulling = null;
    }
  }

  #begin(target: Drillable, isAsked: boolean, view: ViewInput): void {
    const running: Running = {
      ...{ isAsked, waitedBefore: jobsWaiting(view), stop: new AbortController(), because: null },
      ...{ phase: 'waits for its turn', steps: [], over: Promise.resolve() },
    };
    this.#running = running;
    this.#waits = null;
    running.over = this.#run(target, running)
      .catch((error: unknown) => this.#options.log.warn(`a drill of GitLab could not be noted: ${sentenceOf(error)}`))
      .finally(() => {
        this.#running = null;
      });
  }

  async #end(because: string): Promise<void> {
    const running = this.#running;
    if (running === null) return;
    running.because ??= because;
    running.stop.abort();
    await running.over;
  }

  async #run(target: Drillable, running: Running): Promise<void> {
    const { log, clock } = this.#options;
    const what = roundWords(target.round);
    try {
      const end = await this.#tried(target, running);
      const at = clock.wallMs();
      const { isProven, because, steps } = end;
      const notes = this.#notes(target);
      const last = { at, round: target.round, isProven, because, steps };
      const proven = isProven ? { at, round: target.round } : notes.proven;
      await this.#memory.write({ ...notes, last, proven, part: (notes.part + 1) % drillParts });
      if (isProven) log.info(`a drill proved GitLab, from ${what}`);
      else log.warn(`a drill failed: GitLab does not come out whole of ${what}: ${because}`);
    } catch (error) {
      const because = asSentence(running.because ?? withFix(error));
      const notes = this.#notes(target);
      log.info(`a drill of GitLab ended without a verdict: ${because}`);
      await this.#memory.write({ ...notes, ended: { at: clock.wallMs(), because } });
    }
  }

  async #tried(target: Drillable, running: Running): Promise<DrillEnd> {
    const { clones, view, haveImage, mesh } = this.#options;
    const { hosting, place, source } = target;
    const { signal } = running.stop;
    const say = (phase: string): void => {
      running.phase = phase;
    };
    // Said first, begun then: on another machine one may begin at this moment.
    await new Promise<void>((done) => {
      const timer = setTimeout(done, drillTimings.turnMs);
      signal.addEventListener('abort', () => [clearTimeout(timer), done()], { once: true });
    });
    signal.throwIfAborted();
    const now = view();
    if (now !== null && mustYield(now)) throw no('another machine is at one', 'it is tried again');
    say("looks for GitLab's image");
    await haveImage(hosting, signal);
    const { drill } = await import('./gitlab-drill.ts');
    const { data, image } = hosting;
    return drill(
      {
        mesh: mesh(),
        data,
        place,
        source,
        image,
        preset: 'minimal',
        url: hostedUrl(hosting),
      },
      { clones, part: this.#notes(target).part, signal, say, onStep: (step) => void running.steps.push(step) },
    );
  }
}

const roundWords = (round: RoundName | null): string =>
  round === null ? 'its living data' : `round ${roundText(round)}`;
const no = (message: string, hint: string): AutogitError => new AutogitError('clone', message, { hint });
