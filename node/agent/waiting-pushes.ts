import { setTimeout as sleep } from 'node:timers/promises';
import type { Change, ChangeOutcome } from '../../protocol/changes.ts';
import { asSentence } from '../../protocol/ids.ts';
import type { Hosting } from '../../scheduler/hosting/hosted-edits.ts';
import type { PushAnswer, RoundHost } from '../hosting/replica/round-host.ts';

interface WaitingPushesOptions {
  /** Null while the host's side of copies has not begun, or cannot. */
  host(): RoundHost | null;
  /** Why it cannot. */
  problem(): string | null;
  /** Null where the ledger names another host, or none. */
  hosting(): Hosting | null;
  change(change: Change): Promise<ChangeOutcome>;
  stopped: AbortSignal;
}

const askAgainMs = 1000;
const soon = 'copies begin in a moment';

/** What hooks and gate are told of pushes on GitLab's host (SAFETY H10): by who makes its rounds, and while nobody does. */
export class WaitingPushes {
  readonly #options: WaitingPushesOptions;
  /** Asked for once, however many pushes wait. */
  #leaving: Promise<void> | null = null;

  constructor(options: WaitingPushesOptions) {
    this.#options = options;
  }

  /** A push waits. Where nobody was asked to hold copies it waits for nothing. */
  async ask(gone: AbortSignal): Promise<PushAnswer> {
    for (;;) {
      const host = this.#options.host();
      if (host !== null) return host.ask(gone);
      const hosting = this.#options.hosting();
      // By a ledger that has another host, or none, nothing is known of this push: the gate is shut with the lease, and it waits.
      if (hosting !== null && hosting.copies === undefined) return { isAlone: false };
      if (hosting !== null && this.#options.problem() !== null && this.#isSetEmpty()) return { isAlone: true };
      await sleep(100, undefined, { signal: gone });
    }
  }

  /** Also while the host's side begins, or cannot: what waited at an agent of before waits still, until the set is empty. */
  async settled(gone?: AbortSignal): Promise<void> {
    const { host, problem, hosting, stopped } = this.#options;
    const isWaited = (): boolean =>
      hosting() === null || (hosting()?.copies !== undefined && (problem() === null || !this.#isSetEmpty()));
    while (host() === null && isWaited()) {
      // Ended, it knows of none, and that is no answer.
      stopped.throwIfAborted();
      await sleep(100, undefined, gone && { signal: gone });
    }
    await host()?.settled(gone);
  }

  aloneWords(): string {
    const { host, problem } = this.#options;
    return host()?.aloneWords() ?? `this push is on one machine only: ${problem() ?? soon}`;
  }

  waitWords(): string {
    const { host, problem, hosting } = this.#options;
    const why = hosting() === null ? 'this machine hosts GitLab no more' : soon;
    return host()?.waitWords() ?? `waits: ${problem() ?? why}`;
  }

  /** Where no round can be made no member has this push: they leave the in-sync set first, or it is acknowledged and lost (H10). */
  #isSetEmpty(): boolean {
    const hosting = this.#options.hosting();
    const set = hosting?.copies?.set;
    if (hosting === null || set === undefined || set.members.length === 0) return true;
    const { data, epoch } = hosting;
    const because = asSentence(this.#options.problem() ?? 'no round can be made');
    this.#leaving ??= this.#options
      .change({ kind: 'copies-leave', data, epoch, from: set.version, nodes: set.members, because })
      .catch(() => undefined)
      .then(() => sleep(askAgainMs))
      .finally(() => {
        this.#leaving = null;
      });
    return false;
  }
}
