import { sentenceOf } from '../../protocol/errors.ts';
import { InTurn } from '../in-turn.ts';
import type { Workspace } from '../ports.ts';
import type { JobReporter } from './job-reporter.ts';
import { type LeaseView, leaseLimits, mayContinue, type Right } from './run-lease.ts';
import type { RunOptions } from './run-options.ts';

interface Frozen {
  readonly workspace: Workspace | null;
  readonly line: JobReporter;
}

/** What makes a run stand still beside J1: the owner of its machine. */
interface StillForOwner {
  /** The place may go on again as far as the owner is concerned: called with it thawed. */
  onThawed: (() => Promise<void>) | null;
}

/** Freezes a run's place while the run has no right to go on, and thaws it when it has (SAFETY J1, J8), and for its machine's owner. */
export class Freezing {
  readonly #life: Frozen;
  readonly #options: RunOptions;
  readonly #onChange: (frozen: boolean) => void;
  readonly #sinceMs: number;
  #frozenAtMs: number | null = null;
  #verifyFromMs: number | null = null;
  #leaderBackAtMs = Number.POSITIVE_INFINITY;
  #isWorking = false;
  readonly #turns = new InTurn();
  #owner: StillForOwner | null = null;
  #waiting: (() => void)[] = [];

  constructor(life: Frozen, options: RunOptions, onChange: (frozen: boolean) => void) {
    this.#life = life;
    this.#options = options;
    this.#onChange = onChange;
    this.#sinceMs = options.clock.bootMs();
  }

  contact(): LeaseView {
    return {
      atMs: this.#options.clock.bootMs(),
      leaderAtMs: this.#options.leaderContactAt(),
      gitlabAtMs: this.#life.line.heardAt,
      sinceMs: this.#sinceMs,
      frozenAtMs: this.#frozenAtMs,
      verifyFromMs: this.#verifyFromMs,
      leaderBackAtMs: this.#leaderBackAtMs,
    };
  }

  get isLeaderHeard(): boolean {
    return this.#options.clock.bootMs() - this.#options.leaderContactAt() <= leaseLimits.leaderSilentMs;
  }

  /** True while this agent holds the run frozen: then nobody else may thaw it. */
  get isFrozen(): boolean {
    return this.#frozenAtMs !== null || this.#owner !== null;
  }

  /**
   * It stands still for its machine's owner, until `goOn`, whatever J1 says. `before`: while it still runs; where that throws, it
   * goes on. Without `isPlaceToo`, asked for at that moment, what is under way goes on, and nothing new of it begins: what brings its
   * files would hang.
   */
  standStill(before: () => Promise<void>, isPlaceToo: () => boolean): Promise<void> {
    return this.#turns.do(async () => {
      const known = this.#owner;
      this.#owner = { onThawed: null };
      try {
        await before();
        if (isPlaceToo()) await this.#life.workspace?.freeze();
      } catch (error) {
        this.#owner = known;
        // A part of it may stand still already, or may yet.
        if (!this.isFrozen) await this.#life.workspace?.thaw().catch(() => undefined);
        throw error;
      }
    });
  }

  /** `then`: once the place is thawed, before anything new of the run begins; that is later where J1 has it stand still. */
  goOn(then: () => Promise<void>): Promise<void> {
    return this.#turns.do(async () => {
      if (this.#owner === null) return;
      this.#owner = { onThawed: then };
      if (this.#frozenAtMs !== null) return;
      await this.#thaw();
      this.#wake();
    });
  }

  async #thaw(): Promise<void> {
    if (this.#owner !== null && this.#owner.onThawed === null) return;
    await this.#life.workspace?.thaw();
    // What throws there is done again: it still stands still as far as the run goes.
    await this.#owner?.onThawed?.();
    this.#owner = null;
  }

  #wake(): void {
    if (!this.isFrozen) for (const go of this.#waiting.splice(0)) go();
  }

  /** An adopted run stands still until somebody has confirmed that it is still ours: the mesh may have given it up. */
  async hold(): Promise<void> {
    this.#frozenAtMs = this.#options.clock.bootMs();
    await this.#life.workspace?.freeze().catch((error: Error) => this.#options.log.warn(error.message));
  }

  /** Until when (boot ms) the run may go on if nothing more is heard: for the watchdog. */
  mayRunUntilMs(): number {
    const { leaderAtMs, gitlabAtMs, sinceMs } = this.contact();
    return Math.max(leaderAtMs, gitlabAtMs, sinceMs) + leaseLimits.rightMs;
  }

  verify(): void {
    this.#verifyFromMs = this.#options.clock.bootMs();
    this.tick();
  }

  tick(): void {
    const contact = this.contact();
    const { isLeaderHeard } = this;
    if (!isLeaderHeard) this.#leaderBackAtMs = Number.POSITIVE_INFINITY;
    else this.#leaderBackAtMs = Math.min(this.#leaderBackAtMs, contact.atMs);
    const right = mayContinue({ ...contact, leaderBackAtMs: this.#leaderBackAtMs });
    if (right.mayGoOn && this.#verifyFromMs !== null && contact.gitlabAtMs > this.#verifyFromMs)
      this.#verifyFromMs = null;
    if (!isLeaderHeard || this.#frozenAtMs !== null || this.#verifyFromMs !== null) this.#life.line.wake();
    if (right.mayGoOn === (this.#frozenAtMs !== null)) void this.#turn(right);
  }

  /** Resolves when the run may go on, or on abort. */
  untilThawed(signal: AbortSignal): Promise<void> {
    if (!this.isFrozen || signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
  }

  async #turn(right: Right): Promise<void> {
    if (this.#isWorking) return;
    this.#isWorking = true;
    if (!right.mayGoOn) this.#frozenAtMs = this.#options.clock.bootMs();
    try {
      await this.#turns.do(async () => {
        if (!right.mayGoOn) return void (await this.#life.workspace?.freeze());
        await this.#thaw();
        this.#frozenAtMs = null;
        this.#wake();
      });
      const because = right.mayGoOn ? 'contact is back' : right.because;
      this.#options.log.warn(`${right.mayGoOn ? 'thawed' : 'frozen'} a run: ${because}`);
      this.#onChange(!right.mayGoOn);
    } catch (error) {
      this.#options.log.error(`freezing or thawing a run failed: ${sentenceOf(error)}`);
    } finally {
      this.#isWorking = false;
    }
  }
}
