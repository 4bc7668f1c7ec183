import { callTally } from '../../gitlab-bridge/call-tally.ts';
import type { StatusSnapshot } from '../../protocol/status.ts';
import { leaderOf } from '../../scheduler/views.ts';
import { counts } from '../metrics/counts.ts';
import type { Seen } from '../metrics/family.ts';
import { version } from '../version.ts';
import { type CoreView, jobRowsOf, oldestQueuedAt, viewInput } from './core-views.ts';

interface MetricsOptions {
  /** Null while this machine waits to be let in. */
  view(): CoreView | null;
  status(): Promise<StatusSnapshot>;
  /** As the leader told it, when `status` asked. */
  oldestQueuedAt(): number | null | undefined;
}

/** What Prometheus is told, when it asks. */
export class MetricsRequests {
  readonly #options: MetricsOptions;

  constructor(options: MetricsOptions) {
    this.#options = options;
  }

  /** In Prometheus' text format 0.0.4. */
  async metricsText(): Promise<string> {
    const { exposition } = await import('../metrics/exposition.ts');
    const mesh = await this.#mesh();
    const { user, system } = process.cpuUsage();
    const { rss, heapUsed } = process.memoryUsage();
    return exposition({
      version,
      nodeVersion: process.version,
      process: {
        cpuSeconds: (user + system) / 1e6,
        residentBytes: rss,
        heapBytes: heapUsed,
        startedAt: Math.round(Date.now() / 1000 - process.uptime()),
      },
      counts,
      calls: callTally,
      mesh,
    });
  }

  async #mesh(): Promise<Seen['mesh']> {
    if (this.#options.view() === null) return null;
    const status = await this.#options.status();
    // As it is now: the leader may have been asked meanwhile.
    const now = this.#options.view();
    if (now === null) return null;
    const { rows } = jobRowsOf(now);
    const leads = leaderOf(now.state)?.node === now.state.identity.node;
    const { jobs, ledger, wallMs } = viewInput(now);
    const nodes = Object.entries(ledger?.nodes ?? {});
    return {
      status,
      jobs: rows,
      oldestQueuedAt: leads ? oldestQueuedAt(rows) : this.#options.oldestQueuedAt(),
      measured: new Map(Object.entries(jobs.reports).map(([node, { report }]) => [node, report.measured])),
      left: new Set(nodes.filter(([, node]) => node.left).map(([id]) => id)),
      wallMs,
    };
  }
}
