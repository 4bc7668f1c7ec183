import { existsSync, renameSync, rmSync } from 'node:fs';
import { AutogitError, sentenceOf } from '../../../protocol/errors.ts';
import { shown } from '../../foreign-text.ts';
import { type Log, redact } from '../../log.ts';
import { quietFile, wakingFile } from '../push/push-hook.ts';
import type { ServiceHost } from '../service-host.ts';

/*
 * A GitLab that was booted beside the grace works nothing off: mail, webhooks and jobs of its queue would fail without network, be
 * counted as failed, and it may be thrown away. It begins with that once it serves. Files say how far that is, for whichever agent:
 *
 *     gitlab-hooks/quiet     its queue stands still, by its configuration
 *     gitlab-hooks/waking    its configuration shall be made anew
 */

interface QueueOptions {
  home: string;
  host: Pick<ServiceHost, 'exec'>;
  log: Pick<Log, 'info' | 'warn'>;
}

/** What fails is tried again, after twice as long each time: it takes minutes of a machine's cores. */
const timings = { limitMs: 900_000, againMs: 15_000, mostMs: 600_000, settleMs: 40_000 } as const;
/** By runit itself: Sidekiq lets what it is at come to its end for 25 s, and puts the rest back into the queue. */
const settle = ['sv', '-w', '30', 'stop', '/opt/gitlab/service/sidekiq'];

export class QuietQueue {
  readonly #options: QueueOptions;
  #work: Promise<void> | null = null;
  #triedAt = Number.NEGATIVE_INFINITY;
  #failed = 0;
  #problem: string | null = null;

  constructor(options: QueueOptions) {
    this.#options = options;
  }

  /** Why it stands still yet, though GitLab serves; null while nothing is known against it. */
  get problem(): string | null {
    return this.#problem;
  }

  /** GitLab serves by that container; called at each look. */
  tend(id: string): void {
    const { home, log } = this.#options;
    const isQuiet = [quietFile(home), wakingFile(home)].some((path) => existsSync(path));
    if (!isQuiet) this.#problem = null;
    const againMs = Math.min(timings.againMs * 2 ** this.#failed, timings.mostMs);
    if (!isQuiet || this.#work !== null || performance.now() - this.#triedAt < againMs) return;
    this.#triedAt = performance.now();
    this.#work = this.#wake(id)
      .then(() => {
        [this.#failed, this.#problem] = [0, null];
        log.info('GitLab works off what waits in its queue, as it serves now');
      })
      .catch((error: unknown) => {
        this.#failed += 1;
        this.#problem = `it does not work off its queue yet, so no pipeline goes on and no mail is sent: ${sentenceOf(error)}`;
        log.warn(`GitLab does not work off its queue yet, and is told again: ${sentenceOf(error)}`);
      })
      .finally(() => {
        this.#work = null;
      });
  }

  /** GitLab is about to end in that container and serves yet: nothing more is begun of its queue, and nothing is left half done. Never throws. */
  async settle(id: string): Promise<void> {
    const { host, log } = this.#options;
    await host.exec(id, settle, { timeoutMs: timings.settleMs }).catch((error: unknown) => {
      log.warn(`GitLab's queue does not come to rest before GitLab ends: ${sentenceOf(error)}`);
    });
  }

  async #wake(id: string): Promise<void> {
    const { home, host } = this.#options;
    if (existsSync(quietFile(home))) renameSync(quietFile(home), wakingFile(home));
    const { code, out } = await host.exec(id, ['gitlab-ctl', 'reconfigure'], { timeoutMs: timings.limitMs });
    if (code !== 0) {
      const said = redact(shown(out.trim().split('\n').at(-1) ?? '')).slice(0, 300);
      throw new AutogitError('executor-failed', `gitlab-ctl reconfigure ended with code ${code}: "${said}"`);
    }
    rmSync(wakingFile(home), { force: true });
  }
}
