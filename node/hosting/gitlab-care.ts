import { AutogitError } from '../../protocol/errors.ts';
import { asSentence } from '../../protocol/ids.ts';
import type { GitlabSeen } from '../../protocol/report.ts';
import type { Hosting } from '../../scheduler/hosting/hosted-edits.ts';
import type { People } from '../settings/people-list.ts';
import { QuietQueue } from './beside/quiet-queue.ts';
import { GitlabPeople } from './gitlab-people.ts';
import { newPassword } from './gitlab-user.ts';
import type { HostingMemory } from './hosting-memory.ts';
import { MeshToken, type MeshTokenOptions } from './mesh-token.ts';
import { whyUnheld } from './push/hook-look.ts';
import { RedisLog } from './redis-log.ts';

/** A GitLab that starts writes Gitaly's configuration while its hook is looked for; a person may take it away at any time. */
const hookTimings = { wellMs: 60_000, illMs: 10_000 } as const;

/** What GitLab's care needs of its host. */
export interface CareOptions extends MeshTokenOptions {
  home: string;
  /** Users and groups that GitLab shall have, as they stand in this machine's autogit.yml now. Throws what is wrong with it. */
  people(): Promise<People>;
}

/** Of what is told to the whole mesh. */
const mostTold = 5;

/**
 * What a GitLab that works needs beside being watched, each at its own times and beside the keeper's looks: the mesh's token, Redis'
 * log of each write, the hook by which pushes wait, users and groups of a list.
 */
export class GitlabCare {
  readonly token: MeshToken;
  readonly #options: CareOptions;
  readonly #redis: RedisLog;
  readonly #people: GitlabPeople;
  readonly #queue: QuietQueue;
  #id: string | null = null;
  #unheld: string | null = null;
  #hookPid: number | null = null;
  #hookMs = 0;
  #hookWork: Promise<void> | null = null;
  #isQueueOnDisk = false;

  constructor(options: CareOptions, memory: HostingMemory) {
    this.#options = options;
    this.token = new MeshToken(options, memory);
    this.#redis = new RedisLog(options);
    this.#people = new GitlabPeople(options);
    this.#queue = new QuietQueue(options);
  }

  /** It serves, and is not as it should be; null where nothing is known. */
  get problem(): string | null {
    return this.#queue.problem;
  }

  /** What is due is done at the next look. */
  soon(): void {
    this.token.soon();
    this.#redis.soon();
    this.#people.soon();
    this.#hookMs = 0;
  }

  /** GitLab works in that container, with that first process. */
  tend(hosting: Hosting, id: string, pid: number | null): void {
    this.token.tend(hosting, id);
    this.#id = id;
    this.#redis.tend(id);
    this.#queue.tend(id);
    if (this.#options.ledger()?.gitlab.url != null) this.#people.tend(id);
    if (pid !== null) this.#lookAtHook(pid);
  }

  /** Whatever Redis says yes to from now on is in its log before: an end at once loses nothing of the queue. */
  get isQueueOnDisk(): boolean {
    return this.#isQueueOnDisk;
  }

  /** GitLab is about to be ended: its queue comes to rest, and what is in it to the disk. */
  async settleQueue(id: string): Promise<void> {
    await this.#queue.settle(id);
    this.#isQueueOnDisk = await this.#redis.writesFirst(id);
  }

  /** What the mesh is told of it; nothing before it was looked at. */
  seen(): Pick<GitlabSeen, 'queued' | 'unheld' | 'people'> {
    const queued = this.#redis.now;
    const { problems, differences } = this.#people.result;
    return {
      ...(problems.length + differences.length > 0 && {
        people: { problems: firstOf(problems), differences: firstOf(differences) },
      }),
      ...(queued && { queued: { each: queued.each, because: asSentence(queued.because) } }),
      ...(this.#unheld !== null && { unheld: asSentence(this.#unheld) }),
    };
  }

  /** Throws `gitlab-refused`, `gitlab-answer`. */
  async newPassword(user: string): Promise<string> {
    const { host, meshToken } = this.#options;
    const token = meshToken();
    if (this.#id === null || token === null)
      throw new AutogitError('gitlab-answer', 'GitLab does not serve yet, or this machine has no token of it', {
        hint: 'see how far it is: autogit-node gitlab',
      });
    return newPassword(host, this.#id, token, user);
  }

  #lookAtHook(pid: number): void {
    const { clock, home, log } = this.#options;
    const isDue = pid !== this.#hookPid || clock.bootMs() >= this.#hookMs;
    if (this.#hookWork !== null || !isDue) return;
    this.#hookPid = pid;
    // Before it: whoever wants one while it goes on (`soon`) gets another one, as this may have been too early.
    this.#hookMs = clock.bootMs() + hookTimings.wellMs;
    this.#hookWork = whyUnheld(pid, home)
      .then((unheld) => {
        if (unheld !== null) this.#hookMs = Math.min(this.#hookMs, clock.bootMs() + hookTimings.illMs);
        if (unheld !== this.#unheld)
          log[unheld === null ? 'info' : 'warn'](unheld ?? 'each push waits for its copy again');
        this.#unheld = unheld;
      })
      .finally(() => {
        this.#hookWork = null;
      });
  }
}

const firstOf = (sentences: readonly string[]): string[] => {
  const more = sentences.length - mostTold;
  return [...sentences.slice(0, mostTold), ...(more > 0 ? [`${more} more: autogit-node logs`] : [])].map(asSentence);
};
