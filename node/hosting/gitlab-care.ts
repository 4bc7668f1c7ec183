import { asSentence } from '../../protocol/ids.ts';
import type { GitlabSeen } from '../../protocol/report.ts';
import type { Hosting } from '../../scheduler/hosting/hosted-edits.ts';
import type { HostingMemory } from './hosting-memory.ts';
import { MeshToken, type MeshTokenOptions } from './mesh-token.ts';
import { whyUnheld } from './push/hook-look.ts';
import { RedisLog } from './redis-log.ts';

/** A GitLab that starts writes Gitaly's configuration while its hook is looked for; a person may take it away at any time. */
const hookTimings = { wellMs: 60_000, illMs: 2000 } as const;

/**
 * What a GitLab that works needs beside being watched, each at its own times and beside the keeper's looks: the mesh's token, Redis'
 * log of each write, the hook by which pushes wait.
 */
export class GitlabCare {
  readonly token: MeshToken;
  readonly #options: MeshTokenOptions & { home: string };
  readonly #redis: RedisLog;
  #unheld: string | null = null;
  #hookPid: number | null = null;
  #hookMs = 0;
  #hookWork: Promise<void> | null = null;

  constructor(options: MeshTokenOptions & { home: string }, memory: HostingMemory) {
    this.#options = options;
    this.token = new MeshToken(options, memory);
    this.#redis = new RedisLog(options);
  }

  /** What is due is done at the next look. */
  soon(): void {
    this.token.soon();
    this.#redis.soon();
    this.#hookMs = 0;
  }

  /** GitLab works in that container, with that first process. */
  tend(hosting: Hosting, id: string, pid: number | null): void {
    this.token.tend(hosting, id);
    this.#redis.tend(id);
    if (pid !== null) this.#lookAtHook(pid);
  }

  /** What the mesh is told of it; nothing before it was looked at. */
  seen(): Pick<GitlabSeen, 'queued' | 'unheld'> {
    const queued = this.#redis.now;
    return {
      ...(queued && { queued: { each: queued.each, because: asSentence(queued.because) } }),
      ...(this.#unheld !== null && { unheld: asSentence(this.#unheld) }),
    };
  }

  #lookAtHook(pid: number): void {
    const { clock, home, log } = this.#options;
    const isDue = pid !== this.#hookPid || clock.bootMs() >= this.#hookMs;
    if (this.#hookWork !== null || !isDue) return;
    this.#hookPid = pid;
    this.#hookWork = whyUnheld(pid, home)
      .then((unheld) => {
        this.#hookMs = clock.bootMs() + (unheld === null ? hookTimings.wellMs : hookTimings.illMs);
        if (unheld !== this.#unheld)
          log[unheld === null ? 'info' : 'warn'](unheld ?? 'each push waits for its copy again');
        this.#unheld = unheld;
      })
      .finally(() => {
        this.#hookWork = null;
      });
  }
}
